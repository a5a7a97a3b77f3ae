"""Pretraining: a tokenizer without loss, masks over answers only, exact resumption and a loss that falls."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from harness.errors import UserError
from harness.models.config import ModelConfig
from harness.models.transformer import build
from harness.tasks.demo import SUITES, generate, gold_response, prompt_text
from training import pretrain
from training.pretrain_data import (
    FRONTIER,
    Noise,
    batches,
    drills,
    encode_prompt,
    noise_drill,
    noise_rows,
    tokenise,
)
from training.pretrain_eval import Yardstick
from training.pretrain_optim import Optimiser, orthogonalise
from training.pretrain_tokenizer import save_tokenizer, train_tokenizer

SHAPE = {"d-model": 32, "n-layers": 2, "n-heads": 2, "mlp-hidden": 64}
SIZE = {"sums": 120, "programs": 120, "lists": 200, "batch": 8, "warmup": 2, "dtype": "float32"}
TINY = ["--eager", *(f"--{name}={value}" for name, value in (SHAPE | SIZE).items())]


@pytest.fixture(scope="module")
def tokenizer():
    docs = [doc for suite in SUITES for doc in generate(suite, "train", 300, seed=0)]
    return train_tokenizer(
        (text for doc in docs for text in (prompt_text(doc), gold_response(doc))), 768, 512
    )


@pytest.fixture(scope="module")
def rows(tokenizer):
    return tokenise(tokenizer, [doc for suite in SUITES for doc in generate(suite, "train", 40, seed=1)])


def noise_of(tokenizer, **changes) -> Noise:
    settings = {
        "mask_id": tokenizer.mask_token_id,
        "pad_id": tokenizer.pad_token_id,
        "region": 128,
        "block": 32,
        "uniform": 0.5,
        "tied": 0.5,
        "drill": 0.5,
        "second_stage": 0,
        "frontier": 0.5,
        "third_stage": 0,
        "fourth_stage": 1_000_000,
        "numbers": tuple(tokenizer.convert_tokens_to_ids([str(number) for number in range(100)])),
        "equals": tokenizer.convert_tokens_to_ids("="),
        "lengths": (64, 80, 128, 192),
    }
    return Noise(**settings | changes)


@pytest.mark.parametrize(
    "text", ["    if x > 3:\n        x = x + 12\n", "Weird é 日本 \t\n  123456 \\boxed{5}  ", "", "\n\n  \n"]
)
def test_every_string_survives_the_tokenizer(tokenizer, text):
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_problems_and_answers_survive_the_tokenizer(tokenizer):
    for suite in SUITES:
        for doc in generate(suite, "test", 40):
            for text in (prompt_text(doc), gold_response(doc)):
                assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_a_number_is_one_token_and_the_same_wherever_it_stands(tokenizer):
    for number in (0, 7, 10, 42, 99):
        (alone,) = tokenizer(str(number), add_special_tokens=False).input_ids
        for text in (f"has {number} coins", f"3+4={number}.", f"\\boxed{{{number}}}", f"#### {number}"):
            assert alone in tokenizer(text, add_special_tokens=False).input_ids


def test_answers_reach_from_ten_to_over_a_hundred_tokens(tokenizer):
    lengths = [
        len(tokenizer(gold_response(doc), add_special_tokens=False).input_ids)
        for suite in SUITES
        for doc in generate(suite, "test")
    ]
    assert min(lengths) < 20
    assert 100 < max(lengths) < 128


def test_rows_are_the_chat_prompt_the_answer_and_the_end_of_turn(tokenizer):
    doc = generate("demo-math", "train", 1, seed=1)[0]
    row = tokenise(tokenizer, [doc])
    prompt, total = int(row.prompt), int(row.total)
    assert row.tokens[0, :prompt].tolist() == encode_prompt(tokenizer, prompt_text(doc))
    assert tokenizer.decode(row.tokens[0, prompt : total - 1].long()) == gold_response(doc)
    assert tokenizer.decode(row.tokens[0, total - 1 : total].long()) == "<|eot|>"


@pytest.mark.parametrize("uniform", [0.0, 1.0])
def test_only_answers_are_masked_and_only_masked_positions_are_learned(tokenizer, rows, uniform):
    noise = noise_of(tokenizer, uniform=uniform)
    batch = noise_rows(rows, 192, noise, torch.Generator().manual_seed(0))
    masked = batch.noisy == noise.mask_id
    prompt = torch.arange(192) < rows.prompt[:, None]
    assert not (masked & prompt).any()
    assert masked[batch.weight > 0].all()
    assert (batch.noisy == batch.clean)[~masked].all()
    behind = torch.arange(192) >= rows.total[:, None]
    assert (batch.clean[behind] == noise.pad_id).all()
    assert (batch.weight[masked & (batch.weight > 0)] == 1).all()
    assert (batch.weight[behind] > 0).any()


def test_block_wise_rows_keep_a_clean_prefix_and_hide_all_behind_one_block(tokenizer, rows):
    noise = noise_of(tokenizer, uniform=0.0)
    batch = noise_rows(rows, 192, noise, torch.Generator().manual_seed(0))
    for row, prompt in enumerate(rows.prompt.tolist()):
        learned = batch.weight[row].nonzero().flatten() - prompt
        if not len(learned):
            continue
        block = int(learned[0]) // noise.block
        assert (learned // noise.block == block).all()
        assert (batch.noisy[row, prompt + (block + 1) * noise.block :] == noise.mask_id).all()
        assert (batch.noisy[row, prompt : prompt + block * noise.block] != noise.mask_id).all()


def test_tied_rows_hide_a_number_everywhere_in_the_answer_or_nowhere(tokenizer, rows):
    noise = noise_of(tokenizer, uniform=1.0)
    batch = noise_rows(rows, 192, noise, torch.Generator().manual_seed(0), tied=1.0)
    answer = torch.arange(192) >= rows.prompt[:, None]
    for row in range(len(rows.prompt)):
        for number in noise.numbers:
            places = answer[row] & (batch.clean[row] == number)
            assert len(set((batch.noisy[row, places] == noise.mask_id).tolist())) <= 1


def test_frontier_rows_hide_all_behind_a_place_and_ask_for_what_comes_next(tokenizer, rows):
    noise = noise_of(tokenizer)
    batch = noise_rows(rows, 192, noise, torch.Generator().manual_seed(0), frontier=1.0)
    for row, prompt in enumerate(rows.prompt.tolist()):
        masked = batch.noisy[row] == noise.mask_id
        first = int(masked.nonzero()[0])
        last = prompt + ((first - prompt) // noise.block + 1) * noise.block
        assert prompt <= first < int(rows.total[row])
        assert masked[last:].all()
        hole = masked[first:last].int()
        assert (hole.diff() <= 0).all()  # masked up to some place of the block, shown from there on
        asked = batch.weight[row].nonzero().flatten().tolist()
        assert asked in [[c for c in range(first, end) if masked[c]] for end in (first + FRONTIER, last)]


def test_the_width_of_a_batch_tells_nothing_of_its_answers(tokenizer, rows):
    """Canvases that just fitted the answers once taught the model to read their length off the masks."""
    noise, drill = noise_of(tokenizer, drill=0.0), tokenise(tokenizer, drills(4, 0))
    shorter = rows._replace(total=rows.prompt + 1)
    long, short = (batches(given, given, drill, 4, noise, 0.3, seed=5) for given in (rows, shorter))
    widths = [(next(long).noisy.shape[1], next(short).noisy.shape[1]) for _ in range(20)]
    assert all(one == other for one, other in widths)
    assert len(set(widths)) > 2


def test_drills_ask_for_results_whose_own_operands_are_seen(tokenizer, rows):
    noise = noise_of(tokenizer)
    drill = tokenise(tokenizer, drills(30, 0))
    batch = noise_drill(drill, 80, noise, torch.Generator().manual_seed(0))
    asked = batch.weight > 0
    assert asked.any()
    row, place = asked.nonzero(as_tuple=True)
    assert (batch.noisy[row, place] == noise.mask_id).all()
    assert (batch.noisy[row, place - 1] == noise.equals).all()
    for offset in (2, 3, 4):
        assert (batch.noisy[row, place - offset] == batch.clean[row, place - offset]).all()


def test_a_stream_of_batches_continues_where_it_is_told(tokenizer, rows):
    noise = noise_of(tokenizer)
    drill = tokenise(tokenizer, drills(30, 0))
    whole = batches(rows, rows, drill, 4, noise, 0.3, seed=5)
    first = [next(whole) for _ in range(20)]
    later = batches(rows, rows, drill, 4, noise, 0.3, seed=5, skip=17)
    for batch in first[17:]:
        assert torch.equal(batch.noisy, next(later).noisy)
    assert {batch.noisy.shape[1] for batch in first} <= set(noise.lengths)


@pytest.mark.parametrize("muon", [0.0, 0.01])
def test_the_optimiser_steps_masters_and_publishes_them(muon):
    raw = {"d_model": 16, "n_layers": 1, "n_heads": 2, "mlp_hidden_size": 32, "vocab_size": 20}
    raw |= {"model_type": "llada", "max_sequence_length": 32, "mask_token_id": 1, "pad_token_id": 0}
    model = build(ModelConfig.from_json(raw | {"eos_token_id": 0}), torch.bfloat16)
    optimiser = Optimiser(model, 1e-3, muon, 0.01)
    before = [master.detach().clone() for master in optimiser.masters]
    model.logits(torch.arange(8)[None]).square().mean().backward()
    optimiser.step(0.5)
    for old, master, weight in zip(before, optimiser.masters, optimiser.weights, strict=True):
        assert not torch.equal(old, master)
        assert torch.equal(master.to(torch.bfloat16), weight)


def test_the_bound_of_an_ignorant_model_is_the_logarithm_of_the_vocabulary(tokenizer, rows):
    class Uniform:
        def logits(self, tokens, read):
            return torch.zeros(int(read.sum()), len(tokenizer))

    measured = Yardstick(tokenizer, {"demo-math": rows}, 128).measure(Uniform())
    assert measured["demo-math"]["bound"] == pytest.approx(
        torch.tensor(len(tokenizer)).log().item(), rel=0.05
    )


def test_the_rate_warms_up_stays_and_falls_to_zero():
    recipe = pretrain.Recipe(steps=1000, warmup=100, cooldown=0.5)
    assert recipe.rate(0) == 0.01
    assert recipe.rate(100) == recipe.rate(500) == 1.0
    assert recipe.rate(750) == 0.5
    assert recipe.rate(999) == pytest.approx(0.002)
    assert recipe.rate(1000) == 0.0


def test_the_fourth_stage_repeats_the_rates_lower():
    recipe = pretrain.Recipe(steps=1200, warmup=100, fourth_stage=1000, fourth_rate=0.4)
    assert recipe.rate(999) == pytest.approx(0.002)
    assert recipe.rate(1000) == pytest.approx(0.004)
    assert recipe.rate(1100) == pytest.approx(0.4)
    assert recipe.rate(1200) == 0.0


def test_answers_are_reworded_from_the_fourth_stage_on(tokenizer, rows):
    noise, drill = noise_of(tokenizer, drill=0.0, fourth_stage=3), tokenise(tokenizer, drills(4, 0))
    other = rows._replace(tokens=rows.tokens + 1)
    own, mixed = batches(rows, rows, drill, 4, noise, 0.3, 5), batches(rows, other, drill, 4, noise, 0.3, 5)
    same = [torch.equal(next(own).clean, next(mixed).clean) for _ in range(6)]
    assert same == [True] * 3 + [False] * 3


def test_gradients_do_not_depend_on_the_number_of_threads(tmp_path):
    sizes = {name.replace("-", "_"): value for name, value in (SHAPE | SIZE).items()}
    trainer = pretrain.Trainer(pretrain.Recipe(**sizes), tmp_path, compiled=False)
    batch = next(batches(trainer.rows, trainer.reworded, trainer.drill, 8, trainer.noise, 0.5, seed=0))
    found = []
    for trainer.threads in (1, 3):
        loss = trainer.gradients(batch)
        found.append((loss, [weight.grad for weight in trainer.optimiser.weights]))
    (one, alone), (three, shared) = found
    assert one == pytest.approx(three, rel=1e-6)
    for left, right in zip(alone, shared, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 48, 16), (2, 16, 48)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_a_saved_tokenizer_is_loaded_with_its_template_and_special_tokens(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert encode_prompt(loaded, "Compute 3+4.") == encode_prompt(tokenizer, "Compute 3+4.")
    assert set(loaded.all_special_tokens) == set(tokenizer.all_special_tokens)


def command(output: Path, *extra: str) -> None:
    parser = argparse.ArgumentParser()
    pretrain.add_parser(parser.add_subparsers())
    args = parser.parse_args(["pretrain", "--output", str(output), *TINY, *extra])
    assert args.handler(args) == 0


def records(output: Path) -> list[dict]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "step" in line]


def test_an_interrupted_run_ends_with_the_same_weights_and_the_loss_falls(tmp_path, monkeypatch):
    command(tmp_path / "whole", "--steps", "24", "--every", "8")
    losses = [record["loss"] for record in records(tmp_path / "whole")]
    assert losses[-1] < losses[0] - 0.3

    log = pretrain.Log.write

    def stop(self, **record):
        log(self, **record)
        if record.get("step") == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(pretrain.Log, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        command(tmp_path / "parts", "--steps", "24", "--every", "8")
    monkeypatch.undo()
    command(tmp_path / "parts", "--steps", "24", "--every", "8")
    assert [record["step"] for record in records(tmp_path / "parts")] == [8, 16, 24]
    whole, parts = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_directory_of_another_recipe_is_refused(tmp_path):
    command(tmp_path, "--steps", "2", "--every", "2")
    with pytest.raises(UserError, match="another recipe"):
        command(tmp_path, "--steps", "4", "--every", "2")
