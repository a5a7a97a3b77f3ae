"""Shares of a step: every row in one of them, and the same logits as in one piece."""

import random
from functools import partial

import numpy as np
import pytest
import torch

from harness.decoding import decode
from harness.models import shares as module
from harness.models.packing import Segment, pack
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
@pytest.mark.parametrize("threads", [2, 3, 8])
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


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("family", ["llada", "dream"])
def test_shares_give_the_logits_of_one_piece(tiny_denoiser, family, stored, batched):
    model, canvas = tiny_denoiser(family), np.random.default_rng(0).integers(0, 20, (7, 20))
    for seed in range(5):
        segments, read = drawn(seed)
        untouched, found = read.copy(), []
        for threads in (1, 3):
            store = model.new_kv(7, 20) if stored else None
            runs, length = runs_of(segments, threads), 20 if stored else None
            packs, _ = pack(canvas, segments, read, length, CPU, batched=batched, runs=runs)
            assert (len(packs) > 1) == (threads > 1)
            with torch.inference_mode():
                found.append(Shares(threads).forward(partial(compute, model, store), packs))
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
    Shares(1).give_back()
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_decode_that_fails_in_a_share_gives_the_threads_back(tiny_denoiser, monkeypatch):
    def fail(*_):
        raise MemoryError("no memory for this share")

    monkeypatch.setattr(module, "LEAST", 1)
    monkeypatch.setattr(Denoiser, "forward_packed", fail)
    with pytest.raises(MemoryError, match="this share"):
        decode(tiny_denoiser("llada"), [[1, 2], [3]], parse("fixed"), gen_length=8, block_length=4)
    assert torch.get_num_threads() == 2


def test_large_models_are_not_shared(tiny_denoiser, monkeypatch):
    model = tiny_denoiser("llada")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert share_threads(model) == 5
    monkeypatch.setattr(module, "LAYER_BYTES", 1000)
    assert share_threads(model) == 1
