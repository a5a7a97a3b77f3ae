"""Lanes of a decode: who gets how many rows, forwards side by side, what is left behind when one fails."""

import threading
import time
from concurrent.futures import wait as futures_wait
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from harness.decoding import decode, lanes, loop
from harness.decoding.lanes import Lanes, lanes_of, workers
from harness.models.loading import load_model
from harness.models.transformer import Denoiser
from strategies import parse

LENGTHS = {"gen_length": 8, "block_length": 4}


@pytest.fixture
def two_lanes(two_threads, monkeypatch):
    """Whatever the model: every other row in the second lane."""
    monkeypatch.setattr(loop, "lanes_of", lambda model, slots: [slots - slots // 2, slots // 2])


def test_every_row_is_in_a_lane_and_lanes_are_alike(tiny_denoiser, monkeypatch):
    model = tiny_denoiser("llada")
    for threads in (1, 2, 3, 16):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        for slots in range(1, 300):
            sizes = lanes_of(model, slots)
            assert sum(sizes) == slots
            assert max(sizes) - min(sizes) <= 1
            assert len(sizes) == 1 or min(sizes) >= lanes.LEAST
            assert (len(sizes) > 1) == (threads > 1 and slots >= 2 * lanes.LEAST)


def test_a_lane_a_thread_or_a_multiple_of_that(tiny_denoiser, monkeypatch):
    model = tiny_denoiser("llada")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert lanes_of(model, 7) == [7]
    assert lanes_of(model, 9) == [5, 4]
    assert lanes_of(model, 32) == [16, 16]
    assert lanes_of(model, 64) == [16] * 4


def test_large_models_decode_in_one_lane(tiny_denoiser, monkeypatch):
    model = tiny_denoiser("llada")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert len(lanes_of(model, 16)) == 2
    monkeypatch.setattr(lanes, "OWN_BYTES", 1000)
    assert lanes_of(model, 16) == [16]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("number", [9, 11, 35])
def test_a_batch_that_holds_all_prompts_decodes_them_at_once(tiny_denoiser, number):
    model, rows = tiny_denoiser("llada"), []
    found = decode(
        model,
        [[1, 2]] * number,
        parse("fixed"),
        observe=lambda live, *_: rows.append({row.sample for row in live}),
        **LENGTHS,
    )
    lanes = len(lanes_of(model, number))
    assert lanes > 1
    assert len(rows) == 8 * lanes
    assert set.union(*rows) == set(range(number))
    assert all(generation.nfe == 8 for generation in found)


@pytest.mark.usefixtures("two_threads")
def test_operations_share_the_threads_while_there_are_lanes():
    for number, together, each in ((1, 1, 2), (2, 2, 1), (5, 2, 1)):
        with workers(number) as (pool, found):
            assert found == together
            assert torch.get_num_threads() == each
            assert pool.submit(torch.get_num_threads).result() == each
        assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_lanes")
def test_forwards_run_side_by_side_and_the_rest_in_the_callers_thread(tiny_denoiser, monkeypatch):
    meeting, real, threads = threading.Barrier(2, timeout=20), Denoiser.forward_packed, []

    def together(self, step, kv):
        if threading.current_thread().name.startswith("lane"):
            meeting.wait()  # passes where two forwards run at once alone
        return real(self, step, kv)

    monkeypatch.setattr(Denoiser, "forward_packed", together)
    decode(
        tiny_denoiser("llada"),
        [[1, 2], [3, 4]],
        parse("fixed"),
        observe=lambda *_: threads.append(threading.current_thread()),
        on_finish=lambda *_: threads.append(threading.current_thread()),
        **LENGTHS,
    )
    assert set(threads) == {threading.main_thread()}
    assert len(threads) == 2 * 8 + 2


@pytest.mark.usefixtures("two_lanes")
def test_a_lane_left_alone_computes_with_all_threads(tiny_denoiser, monkeypatch):
    real, used = Denoiser.forward_packed, []

    def note(self, step, kv):
        used.append((threading.current_thread() is threading.main_thread(), torch.get_num_threads()))
        return real(self, step, kv)

    monkeypatch.setattr(Denoiser, "forward_packed", note)
    prompts = [[1], [2], [3]]  # two slots: the first lane decodes two of them, one after the other
    decode(tiny_denoiser("llada"), prompts, parse("fixed"), batch_size=2, **LENGTHS)
    alone = used.count((True, 2))
    assert used == [(False, 1)] * (24 - alone) + [(True, 2)] * alone
    assert 0 < alone < 24
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_lanes")
def test_samples_seconds_sum_up_to_the_decodes(tiny_denoiser, monkeypatch):
    """By a clock that the caller's thread alone moves on: a second a step, an hour a finished sample."""
    now, charged, real = [0.0], [], Lanes.step

    def pass_by(seconds):
        now[0] += seconds

    def step(self):
        traces = [entry.trace for lane in self.live for entry in lane.live]
        before = [trace.seconds for trace in traces]
        lane = real(self)
        charged.append([trace.seconds - spent for trace, spent in zip(traces, before, strict=True)])
        return lane

    monkeypatch.setattr(lanes, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(Lanes, "step", step)
    found = decode(
        tiny_denoiser("llada"),
        [[1], [2], [3], [4], [5]],
        parse("fixed"),
        batch_size=3,  # two rows in the first lane, one in the second
        observe=lambda *_: pass_by(1),
        on_finish=lambda *_: pass_by(3600),
        **LENGTHS,
    )
    assert len(charged) == 16 + 16
    for shares in charged:
        assert shares == pytest.approx([1 / len(shares)] * len(shares)), "of whichever lane"
    assert sum(generation.latency_s for generation in found) == pytest.approx(len(charged))


@pytest.mark.usefixtures("two_lanes")
def test_a_lane_that_fails_waits_for_the_other_and_gives_the_threads_back(tiny_denoiser, monkeypatch):
    calls, running, finished, model = count(), threading.Event(), [], tiny_denoiser("llada")

    def fail(_, packed, kv):
        if next(calls) == 0:
            running.wait(20)
            raise MemoryError("no memory for this lane")
        running.set()
        time.sleep(0.1)
        finished.append(packed)
        return torch.zeros(len(packed.read), model.config.vocab_rows)

    monkeypatch.setattr(Denoiser, "forward_packed", fail)
    with pytest.raises(MemoryError, match="this lane"):
        decode(model, [[1, 2], [3], [4]], parse("fixed"), **LENGTHS)
    assert torch.get_num_threads() == 2
    assert len(finished) == next(calls) - 1 > 0, "the other lane was still running"


@pytest.mark.usefixtures("two_threads")
def test_forwards_that_wait_for_a_thread_are_not_begun_after_a_failure(tiny_denoiser, monkeypatch):
    calls, cancelled, real, model = count(), threading.Event(), Lanes._end, tiny_denoiser("llada")

    def fail(_, packed, kv):
        if next(calls) == 0:
            raise MemoryError("no memory for this lane")
        cancelled.wait(20)
        return torch.zeros(len(packed.read), model.config.vocab_rows)

    def wait(futures):  # for those that could not be cancelled any more
        cancelled.set()
        return futures_wait(futures)

    def end(self):
        monkeypatch.setattr(lanes, "wait", wait)
        real(self)

    monkeypatch.setattr(loop, "lanes_of", lambda model, slots: [1] * slots)
    monkeypatch.setattr(Denoiser, "forward_packed", fail)
    monkeypatch.setattr(Lanes, "_end", end)
    with pytest.raises(MemoryError, match="this lane"):
        decode(model, [[token] for token in range(1, 9)], parse("fixed"), **LENGTHS)
    assert next(calls) <= 3, "of eight: that one, its neighbour, one begun before the failure was seen"


@pytest.mark.usefixtures("two_lanes")
def test_what_the_caller_raises_ends_every_lane(tiny_denoiser, monkeypatch):
    begun, ended, real = [], [], Denoiser.forward_packed

    def note(self, step, kv):
        begun.append(step)
        time.sleep(0.01)
        ended.append(step)
        return real(self, step, kv)

    def finish(index, generation):
        raise KeyboardInterrupt

    monkeypatch.setattr(Denoiser, "forward_packed", note)
    with pytest.raises(KeyboardInterrupt):
        decode(tiny_denoiser("llada"), [[1, 2], [3], [4]], parse("fixed"), on_finish=finish, **LENGTHS)
    assert torch.get_num_threads() == 2
    done = len(begun)
    assert done == len(ended) <= 16
    time.sleep(0.05)
    assert len(begun) == len(ended) == done


@pytest.mark.usefixtures("two_threads")
def test_the_demo_model_decodes_alike_in_lanes_and_in_one(monkeypatch):
    """With the constants as they are: eight rows make two lanes."""
    model = load_model("demo", dtype="float32", device="cpu").model
    prompts = [[7 * i + j for j in range(30 + i)] for i in range(10)]
    options = {"gen_length": 128, "block_length": 32, "batch_size": 8}
    assert lanes_of(model, 8) == [4, 4]
    split = decode(model, prompts, parse("fixed:steps=1/16"), **options)
    monkeypatch.setattr(loop, "lanes_of", lambda model, slots: [slots])
    whole = decode(model, prompts, parse("fixed:steps=1/16"), **options)
    assert [g.output_ids for g in split] == [g.output_ids for g in whole]
    for a, b in zip(split, whole, strict=True):
        np.testing.assert_allclose(a.confidence, b.confidence, atol=1e-3)
