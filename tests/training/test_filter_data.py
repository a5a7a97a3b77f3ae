"""The extremely greedy process against the recorded pairs of the reference."""

import json
from pathlib import Path

import pytest
import torch

from harness.models.loading import load_model
from training.filter_data import greedy_forwards, stack

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
CASES = (
    [
        case
        for case in json.loads((GOLDEN / "cases_visible.json").read_text())["oracle_cases"]
        if case["algo"] == "learn2pd_oracle"
    ]
    if GOLDEN.exists()
    else []
)


@pytest.mark.skipif(not CASES, reason="the golden oracle cases are not beside the repository")
def test_records_are_the_reference_s():
    model = load_model(str(GOLDEN / "llada-tiny"), device="cpu", dtype="float32").model
    prompts = [case["prompt_ids"] for case in CASES]
    answers = [case["final_ids"][len(case["prompt_ids"]) :] for case in CASES]
    block_length = CASES[0]["params"]["block_length"]
    found = greedy_forwards(model, prompts, answers, block_length, batch_size=2)
    for case, forwards in zip(CASES, found, strict=True):
        assert len(forwards) == case["nfe"]
        for forward, record in zip(forwards, case["records"], strict=True):
            recorded = torch.tensor([mark == "1" for mark in record["is_correct"]])
            assert torch.equal(forward.correct, recorded)
            torch.testing.assert_close(
                forward.confidence, torch.tensor(record["confidence"]), atol=5e-4, rtol=0
            )


def test_a_decode_that_is_stuck_ends_with_the_answer(denoiser):
    answer = [(7 * at) % 29 for at in range(10)]  # nothing this untrained model would say
    (forwards,) = greedy_forwards(denoiser, [[1, 2]], [answer], block_length=4)
    assert [forward.start for forward in forwards] == sorted(forward.start for forward in forwards)
    assert {forward.start for forward in forwards} == {0, 4, 8}
    assert len(forwards[-1].confidence) == 2


def test_samples_do_not_depend_on_their_batch(denoiser):
    prompts, answers = [[1, 2], [3], [4, 5, 6]], [[1, 2, 3, 4, 5], [6] * 5, [7] * 5]
    together = greedy_forwards(denoiser.double(), prompts, answers, 4, batch_size=2)
    for prompt, answer, own in zip(prompts, answers, together, strict=True):
        (alone,) = greedy_forwards(denoiser, [prompt], [answer], 4)
        assert len(alone) == len(own)
        for one, other in zip(alone, own, strict=True):
            assert torch.equal(one.correct, other.correct)
            torch.testing.assert_close(one.confidence, other.confidence)


def test_pairs_pad_narrow_blocks_and_split_by_sample(denoiser):
    forwards = greedy_forwards(denoiser, [[1], [2]], [[1] * 6, [2] * 6], 4)
    pairs = stack(forwards, 4)
    assert pairs.confidence.shape == (sum(map(len, forwards)), 4)
    narrow = pairs.confidence[len(forwards[0]) - 1]
    assert narrow[2:].tolist() == [0, 0]
    assert not pairs.masked[len(forwards[0]) - 1, 2:].any()
    second = pairs.of(torch.tensor([False, True]))
    assert len(second.confidence) == len(forwards[1])
