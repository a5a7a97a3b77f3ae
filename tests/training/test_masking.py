"""The two complementary views: as the reference draws them, and independent between rows."""

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training.masking import RowRandom, draw_segment, forward_masking

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
CASES = json.loads((GOLDEN / "loss_case.json").read_text())["cases"] if GOLDEN.exists() else []
SINGLE = [case for case in CASES if case["shape"][0] == 1]  # the reference is right for one row only
MASK = 99


@pytest.mark.skipif(not CASES, reason="the golden loss cases are not beside the repository")
@pytest.mark.parametrize("case", SINGLE, ids=lambda case: case["name"])
def test_views_are_the_reference_s_from_its_seeds(case):
    tensors = load_file(GOLDEN / "loss_case.safetensors")
    recorded = lambda key: tensors[f"{case['name']}.{key}"]  # noqa: E731
    drawn = RowRandom(
        random.Random(case["python_random_seed"]), torch.Generator().manual_seed(case["torch_seed"])
    )
    views = forward_masking(
        recorded("input_ids"),
        case["prompt_lengths"],
        [drawn],
        mask_id=case["mask_token_id"],
        block_length=case["block_size"],
    )
    assert torch.equal(views.noisy, recorded("noisy_batch"))
    assert torch.equal(views.noisy_rev, recorded("noisy_batch_rev"))
    assert torch.equal(views.masked, recorded("masked_indices").bool())
    assert torch.equal(views.masked_rev, recorded("masked_indices_rev").bool())


def batch(rows=6, length=50):
    tokens = torch.arange(rows * length).reshape(rows, length) % MASK
    return tokens, [3 + row for row in range(rows)], [length - 2 * row for row in range(rows)]


def noise(tokens, prompts, lengths, indices, block_length=8):
    return forward_masking(
        tokens,
        prompts,
        [RowRandom.of(0, 1, index) for index in indices],
        mask_id=MASK,
        block_length=block_length,
        lengths=lengths,
    )


@pytest.mark.parametrize("block_length", [8, None])
def test_views_are_complementary_and_leave_prompt_and_padding_alone(block_length):
    tokens, prompts, lengths = batch()
    views = noise(tokens, prompts, lengths, range(6), block_length)
    assert not (views.masked & views.masked_rev).any()
    for row, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
        union = (views.masked | views.masked_rev)[row].nonzero().flatten()
        start, end = (union[0].item(), union[-1].item() + 1) if len(union) else (length, length)
        assert len(union) == end - start
        assert start >= prompt
        assert end <= length
        for noisy, masked in ((views.noisy, views.masked), (views.noisy_rev, views.masked_rev)):
            assert torch.equal(noisy[row] == MASK, masked[row] | behind(end, length, tokens.shape[1]))
            kept = noisy[row] != MASK
            assert torch.equal(noisy[row][kept], tokens[row][kept])


def behind(end, length, columns):
    column = torch.arange(columns)
    return (column >= end) & (column < length)


def test_a_row_s_noise_does_not_depend_on_its_neighbours():
    tokens, prompts, lengths = batch()
    together = noise(tokens, prompts, lengths, range(6))
    for row in range(6):
        alone = noise(tokens[row : row + 1], prompts[row : row + 1], lengths[row : row + 1], [row])
        assert all(torch.equal(both[row], one[0]) for both, one in zip(together, alone, strict=True))
    patterns = {tuple(row.tolist()) for row in together.masked}
    assert len(patterns) == 6


def test_segments_are_whole_blocks_then_the_remainder():
    drawn = {draw_segment(random.Random(seed), 5, 30, 8) for seed in range(200)}
    assert drawn == {(5, 13), (13, 21), (21, 29), (29, 30)}
    assert {draw_segment(random.Random(seed), 5, 21, 8) for seed in range(200)} == {
        (5, 13),
        (13, 21),
        (21, 21),
    }


def test_about_half_of_a_segment_is_masked():
    tokens = torch.zeros(200, 64, dtype=torch.long)
    views = noise(tokens, [0] * 200, None, range(200), None)
    assert views.masked.float().mean().item() == pytest.approx(0.5005, abs=0.02)
