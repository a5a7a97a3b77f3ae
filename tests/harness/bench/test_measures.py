"""What the bench reports of shapes it can count itself: windows, floors, lengths, memory."""

import json
import mmap
import types
from pathlib import Path

import pytest
import torch

from harness.bench import steps
from harness.bench.clock import Spread
from harness.bench.roofline import Roofline, Window
from harness.bench.steps import covered, merged, step_cost
from harness.bench.throughput import CLEAR, Gauge, in_turn, needed
from harness.bench.workload import Workload, drawn_lengths, file_lengths, synthetic
from harness.errors import UserError
from harness.flops import block_weights
from strategies import parse


@pytest.fixture
def workload(tiny_denoiser):
    """Three ragged prompts on the tiny model."""
    model = tiny_denoiser("llada")
    loaded = types.SimpleNamespace(model=model, config=model.config, tokenizer=None, path=Path("absent"))
    return Workload(loaded, [[1, 2, 3], [4, 5], [6, 7, 8, 9]], 8, 4)


@pytest.mark.parametrize(("spec", "per_row"), [("fixed", 8), ("fixed+dual-cache", 8)])
def test_a_decodes_steps_are_all_there(workload, spec, per_row):
    cost = step_cost(workload, parse(spec), 3, lambda: Roofline(1e12, 1e12))
    assert cost.steps == per_row
    assert cost.rows == 3
    assert cost.useful_columns == 1.0
    assert 0 < cost.outside < 1
    assert cost.forward_ms.median + cost.selection_ms.median < 2 * cost.total_ms.median


def test_spans_cover_what_lies_in_any_of_them():
    assert covered([(5.0, 1.0), (0.0, 2.0), (1.0, 2.0), (1.5, 0.5)]) == 4.0
    assert covered([]) == 0


def test_windows_side_by_side_are_as_large_as_both():
    assert merged([Window(1, 2, 3, 4, 5), Window(10, 20, 30, 40, 50)]) == Window(11, 22, 33, 44, 55)


@pytest.mark.usefixtures("two_threads")
def test_the_steps_of_all_lanes_are_there(workload, monkeypatch):
    monkeypatch.setattr(steps, "lanes_of", lambda model, slots: [2, 1])
    cost = step_cost(workload, parse("fixed+dual-cache"), 3, lambda: Roofline(1e12, 1e12))
    assert torch.get_num_threads() == 2
    assert (cost.lanes, cost.steps, cost.rows) == (2, 16, 1.5)
    assert cost.useful_columns == 1.0
    assert 0 < cost.outside < 1
    assert 0 < cost.host < 1


def test_a_floor_is_taken_from_the_best_rates_measured_beside_the_forward(workload):
    measured = iter([Roofline(1e9, 4e9), Roofline(2e9, 3e9)])
    cost = step_cost(workload, parse("fixed"), 3, lambda: next(measured))
    assert (cost.flops, cost.bandwidth) == (2e9, 4e9)
    known = step_cost(workload, parse("fixed"), 3, lambda: Roofline(2e9, 4e9))
    assert (cost.floor_ms, cost.binding) == (known.floor_ms, known.binding)


def test_a_full_windows_columns_are_prompt_and_region(workload):
    cost = step_cost(workload, parse("fixed"), 3, lambda: Roofline(1e12, 1e12))
    assert cost.columns == sum(len(prompt) + 8 for prompt in workload.prompts)


def test_the_floor_is_the_slower_of_arithmetic_and_memory(tiny_config):
    config = tiny_config("llada")
    window = Window(columns=10, read=10, keys=0, pairs=0, read_pairs=0)
    weights = block_weights(config) + config.d_model * config.vocab_rows
    assert Roofline(1.0, 1e30).floor(config, window, 4) == (2 * weights * 10, "compute")
    assert Roofline(1e30, 1.0).floor(config, window, 4) == (4 * weights, "memory")


def test_what_a_decode_cannot_do_without(tiny_denoiser):
    model = tiny_denoiser("llada", dtype=torch.float32)
    weights, kv, logits = needed(model, 2, 10, 6, stored=True)
    config = model.config
    assert weights == 4 * sum(p.numel() for p in model.parameters())
    assert kv == 4 * 2 * config.n_layers * 2 * 10 * config.n_kv_heads * config.head_dim
    assert logits == 4 * 6 * config.vocab_rows
    assert needed(model, 2, 10, 6, stored=False)[1] == 0


@pytest.mark.skipif(not CLEAR.exists(), reason="this system does not forget a process' peak")
def test_the_gauge_sees_a_buffer_come_and_go_until_it_is_restarted():
    gauge = Gauge(torch.device("cpu"))
    with mmap.mmap(-1, 64 << 20) as buffer:  # of the system's, not of what the process has freed before
        for page in range(0, 64 << 20, mmap.PAGESIZE):
            buffer[page] = 1
    assert gauge.peak() > 32 << 20
    gauge.restart()
    assert gauge.peak() < 32 << 20


def test_lengths_follow_the_files_questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    texts = ["one two", "one two three four five"]
    path.write_text("".join(json.dumps({"question": text}) + "\n" for text in texts))
    short, long, again = file_lengths(path, 3, types.SimpleNamespace(tokenizer=None))
    assert (long - short, again) == (3, short)
    path.write_text('{"answer": "no question"}\n')
    with pytest.raises(UserError, match="line 1"):
        file_lengths(path, 1, types.SimpleNamespace(tokenizer=None))


def test_synthetic_prompts_hold_no_special_token(workload):
    config = workload.loaded.config
    prompts = synthetic(drawn_lengths((3, 9), 20, 1), workload.loaded, 1)
    assert all(3 <= len(prompt) <= 9 for prompt in prompts)
    assert not {config.mask_id, *config.terminators} & {token for prompt in prompts for token in prompt}
    assert prompts == synthetic(drawn_lengths((3, 9), 20, 1), workload.loaded, 1)


def test_a_spread_is_median_and_extremes():
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_decodings_take_turns_and_are_held_against_each_other_round_by_round(monkeypatch):
    order, ticks = [], iter([0, 8, 10, 12, 20, 21, 30, 36, 40, 44, 50, 54])  # begin and end, in turn
    monkeypatch.setattr("harness.bench.throughput.now", lambda device: float(next(ticks)))

    def run(name):
        return lambda: order.append(name) or [([5, 6], 3), ([7], 1)]

    slow, fast = in_turn([run("slow"), run("fast")], torch.device("cpu"), 3)
    assert order == ["slow", "fast", "fast", "slow", "slow", "fast"]
    assert (slow.taken, fast.taken) == ((8, 6, 4), (2, 1, 4))
    assert slow.times(fast) == Spread(4.0, 1.0, 6.0)
    assert (fast.samples_per_s, fast.tokens_per_s, fast.nfe) == (1.0, 1.5, 2.0)
