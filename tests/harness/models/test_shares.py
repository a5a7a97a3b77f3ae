"""Shares of a step: every row in one of them, and the same logits as in one piece."""

import random

import numpy as np
import pytest
import torch

from harness.models import shares as module
from harness.models.packing import Segment, pack
from harness.models.shares import share_threads, shares, side_by_side

CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch):
    """Shares of about eight columns, from one column on."""
    monkeypatch.setattr(module, "LEAST", 1)
    monkeypatch.setattr(module, "COLUMNS", 8)


def drawn(seed, rows=7):
    """Segments of ragged rows, the packed indices that are read of them, and how many of each."""
    draw = random.Random(seed)
    segments, read, counts, begin = [], [], [], 0
    for slot in range(rows):
        first, width = draw.randrange(3), draw.randint(1, 9)
        segments.append(Segment(slot, first, first + width, first + width + draw.randrange(4)))
        chosen = sorted(draw.sample(range(width), draw.randint(1, width)))
        read += [begin + place for place in chosen]
        counts.append(len(chosen))
        begin += width
    return segments, np.array(read), np.array(counts)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_every_row_and_what_is_read_of_it_is_in_one_share(threads):
    for seed in range(20):
        segments, read, counts = drawn(seed)
        found = list(shares(segments, read, counts, threads))
        assert [segment for own, _ in found for segment in own] == segments
        assert len(found) > 1
        begin, rebuilt = 0, []
        for own, places in found:
            width = sum(segment.width for segment in own)
            assert 0 <= min(places) <= max(places) < width
            rebuilt += (places + begin).tolist()
            begin += width
        assert rebuilt == read.tolist()


def test_shares_are_a_whole_number_a_thread_and_alike():
    segments = [Segment(slot, 0, 160, 160) for slot in range(16)]
    counts = np.full(16, 2)
    found = list(shares(segments, np.arange(32) * 80, counts, 2))
    assert [len(own) for own, _ in found] == [4] * 4


def test_few_columns_one_row_or_one_thread_stay_in_one_piece():
    wide = [Segment(0, 0, 5000, 5000)]
    narrow = [Segment(slot, 0, 10, 10) for slot in range(8)]
    many = [Segment(slot, 0, 1000, 1000) for slot in range(8)]
    for segments, threads in ((wide, 4), (narrow, 4), (many, 1)):
        read, counts = np.arange(len(segments)), np.ones(len(segments), int)
        ((own, places),) = shares(segments, read, counts, threads)
        assert own is segments
        assert places is read


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("family", ["llada", "dream"])
def test_shares_give_the_logits_of_one_piece(tiny_denoiser, family, stored):
    model, canvas = tiny_denoiser(family), np.random.default_rng(0).integers(0, 20, (7, 20))
    for seed in range(5):
        segments, read, counts = drawn(seed)
        found = []
        for threads in (1, 3):
            store = model.new_kv(7, 20) if stored else None
            packs = [
                pack(canvas, own, places, 20 if stored else None, CPU)[0]
                for own, places in shares(segments, read, counts, threads)
            ]
            with torch.inference_mode():
                kept = store
                found.append(side_by_side(lambda part: model.forward_packed(part, kept), packs, threads))  # noqa: B023
            assert (len(packs) > 1) == (threads > 1)
        torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-12)


def test_operations_get_their_threads_back_though_a_share_fails():
    before = torch.get_num_threads()

    def fail(_):
        assert torch.get_num_threads() == 1
        raise MemoryError("no memory for this share")

    try:
        torch.set_num_threads(2)
        with pytest.raises(MemoryError, match="this share"):
            side_by_side(fail, [None, None], 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_large_models_are_not_shared(tiny_denoiser, monkeypatch):
    model = tiny_denoiser("llada")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert share_threads(model) == 5
    monkeypatch.setattr(module, "LAYER_BYTES", 1000)
    assert share_threads(model) == 1
