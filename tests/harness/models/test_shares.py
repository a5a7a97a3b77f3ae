"""Shares of a step: every row in one of them, and the same logits as in one piece."""

import random
import threading
import time
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch

from harness.decoding import decode
from harness.models import shares as module
from harness.models.loading import load_model
from harness.models.packing import Layout, Segment
from harness.models.shares import Shares, runs_of, share_threads
from harness.models.transformer import Denoiser
from strategies import parse

CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch):
    """Shares of about eight columns, from one column on."""
    monkeypatch.setattr(module, "LEAST", 1)
    monkeypatch.setattr(module, "COLUMNS", 8)


def drawn(seed, rows=7):
    """Segments of ragged rows, and the packed indices that are read of them."""
    draw = random.Random(seed)
    segments, read, begin = [], [], 0
    for slot in range(rows):
        first, width = draw.randrange(3), draw.randint(1, 9)
        segments.append(Segment(slot, first, first + width, first + width + draw.randrange(4)))
        read += [begin + place for place in sorted(draw.sample(range(width), draw.randint(1, width)))]
        begin += width
    return segments, np.array(read)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_every_row_is_in_one_share(threads):
    for seed in range(20):
        segments, _ = drawn(seed)
        runs = runs_of(segments, threads)
        assert len(runs) > 1
        assert [row for low, high in runs for row in range(low, high)] == list(range(len(segments)))


def test_shares_are_a_whole_number_a_thread_and_alike():
    segments = [Segment(slot, 0, 160, 160) for slot in range(16)]
    assert runs_of(segments, 2) == [(0, 4), (4, 8), (8, 12), (12, 16)]


def test_few_columns_one_row_or_one_thread_stay_in_one_piece():
    wide = [Segment(0, 0, 5000, 5000)]
    narrow = [Segment(slot, 0, 10, 10) for slot in range(8)]
    many = [Segment(slot, 0, 1000, 1000) for slot in range(8)]
    assert runs_of(wide, 4) == [(0, 1)]
    assert runs_of(narrow, 4) == [(0, 8)]
    assert runs_of(many, 1) == [(0, 8)]
    assert runs_of(many, 9) == [(0, 8)], "fewer rows than threads"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("way", ["rows", "padded"])
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("family", ["llada", "dream"])
def test_shares_give_the_logits_of_one_piece(tiny_denoiser, family, stored, way):
    model, canvas = tiny_denoiser(family), np.random.default_rng(0).integers(0, 20, (7, 20))
    for seed in range(5):
        segments, read = drawn(seed)
        untouched, found = read.copy(), []
        for threads in (1, 3):
            store = model.new_kv(7, 20) if stored else None
            runs, length = runs_of(segments, threads), 20 if stored else None
            packs, _ = Layout(segments, length, CPU, way, runs=runs).pack(canvas, read)
            assert (len(packs) > 1) == (threads > 1)
            shared = Shares(threads)
            with torch.inference_mode():
                found.append(shared.forward(partial(compute, model, store), packs))
            shared.give_back()
        torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-12)
        assert (read == untouched).all()


def compute(model, store, packed):
    return model.forward_packed(packed, store)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_operations_use_one_thread_while_there_are_shares_and_all_again_in_one_piece():
    used, shared = [], Shares(2)

    def note(_):
        used.append(torch.get_num_threads())
        return torch.zeros(1)

    shared.forward(note, [None, None])
    assert used == [1, 1]
    assert torch.get_num_threads() == 1
    shared.forward(note, [None])
    assert used[2:] == [2]
    shared.forward(note, [None, None])
    shared.give_back()
    assert torch.get_num_threads() == 2
    Shares(5).give_back()
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_decode_that_fails_in_a_share_gives_the_threads_back(tiny_denoiser, monkeypatch):
    calls, finished = count(), []

    def fail(_, packed, kv):
        assert threading.current_thread().name.startswith("share")
        if next(calls) == 0:
            raise MemoryError("no memory for this share")
        time.sleep(0.1)
        finished.append(packed)
        return torch.zeros(len(packed.read), model.config.vocab_rows)

    model = tiny_denoiser("llada")

    monkeypatch.setattr(module, "LEAST", 1)
    monkeypatch.setattr(Denoiser, "forward_packed", fail)
    with pytest.raises(MemoryError, match="this share"):
        decode(model, [[1, 2], [3], [4]], parse("fixed"), gen_length=8, block_length=4)
    assert torch.get_num_threads() == 2
    assert finished, "the other share was still running"


@pytest.mark.usefixtures("two_threads")
def test_the_demo_model_decodes_alike_in_shares_and_in_one_piece(monkeypatch):
    """With the constants as they are: six rows of some 170 columns make two shares."""
    model = load_model("demo", dtype="float32", device="cpu").model
    prompts = [[7 * i + j for j in range(30 + i)] for i in range(6)]
    options = {"gen_length": 128, "block_length": 32}
    assert len(runs_of([Segment(i, 0, 158 + i, 158 + i) for i in range(6)], share_threads(model))) == 2
    shared = decode(model, prompts, parse("fixed:steps=1/16"), **options)
    monkeypatch.setattr(module, "LEAST", 10**9)
    whole = decode(model, prompts, parse("fixed:steps=1/16"), **options)
    assert [g.output_ids for g in shared] == [g.output_ids for g in whole]
    for a, b in zip(shared, whole, strict=True):
        np.testing.assert_allclose(a.confidence, b.confidence, atol=1e-3)


def test_large_models_are_not_shared(tiny_denoiser, monkeypatch):
    model = tiny_denoiser("llada")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert share_threads(model) == 5
    monkeypatch.setattr(module, "OWN_BYTES", 1000)
    assert share_threads(model) == 1
