"""What a forward recomputes and reads, under caches that a plug-in may bring."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from harness.decoding import decode
from strategies import PartError
from strategies.cache import DualCache, NoCache
from strategies.stop import EndOfTextPrediction


@dataclass(frozen=True)
class Every(NoCache):
    """A cache that is rebuilt every few forwards, within a block too."""

    keeps_kv: ClassVar[bool] = True
    every: int = 3

    def span(self, row):
        return (0, row.end) if row.step % self.every == 0 else (row.block, row.block_end)


@dataclass(frozen=True)
class Some(NoCache):
    """No cache, and of the first block's columns not those before `first`."""

    first: int = 0

    def span(self, row):
        return self.first, row.end


@dataclass(frozen=True)
class Short(NoCache):
    """Leaves out the first block's last column."""

    def span(self, row):
        return 0, row.block_end - 1


@dataclass(frozen=True)
class Idle(NoCache):
    def transfer(self, p, transfer):
        return np.zeros_like(transfer)


@dataclass(frozen=True)
class Narrow(NoCache):
    def transfer(self, p, transfer):
        return transfer.any(1)


@dataclass(frozen=True)
class Nowhere(EndOfTextPrediction):
    def cut(self, p, transfer, vouched):
        return np.zeros(len(transfer), int)


@dataclass(frozen=True)
class Never(DualCache):
    """A store that is not filled before it is read."""

    def span(self, row):
        return row.block, row.block_end


@dataclass(frozen=True)
class LeftOut(NoCache):
    """A store, and of the block only what lies behind the first position once a forward committed that."""

    keeps_kv: ClassVar[bool] = True

    def span(self, row):
        return (0, row.end) if row.step == 0 else (row.block + 1, row.end)

    def transfer(self, p, transfer):
        return p.eligible & (np.cumsum(p.eligible, 1) == 1)


def test_whatever_recomputes_everything_for_a_cache_is_a_refresh(tiny_denoiser, strategy):
    made = dataclasses.replace(strategy("fixed"), cache=Every())
    (found,) = decode(tiny_denoiser("llada"), [[1, 2]], made, gen_length=8, block_length=4)
    assert found.refresh_steps == [1, 4, 5, 8]
    assert (found.nfe, found.refresh_nfe) == (8, 4)
    assert found.query_tokens == 4 * 10 + 4 * 4


@pytest.mark.parametrize(
    ("cache", "says"),
    [
        (Some(4), r"Some.span\(\) answers \(4, 10\), but positions from 2 to 6 are read"),
        (Some(10), r"Some.span\(\) answers \(10, 10\), not columns between 0 and 10"),
        (Short(), r"Short.span\(\) answers \(0, 5\), but positions from 2 to 6 are read"),
        (Idle(), r"Idle.transfer\(\) lets a forward commit nothing"),
        (Narrow(), r"Narrow.transfer\(\) answers bool of shape \[1\], not bool of shape \[1, 4\]"),
        (Never(), r"Never.span\(\) has to fill its store first: \(0, 10\)"),
    ],
)
def test_a_cache_that_leaves_out_what_is_read_is_named(tiny_denoiser, strategy, cache, says):
    made = dataclasses.replace(strategy("fixed"), cache=cache)
    with pytest.raises(PartError, match=says):
        decode(tiny_denoiser("llada"), [[1, 2]], made, gen_length=8, block_length=4)


def test_committed_positions_need_not_be_recomputed(tiny_denoiser, strategy):
    """What a forward reads are the block's masks; a cache may leave out the rest of it."""
    made = dataclasses.replace(strategy("fixed"), cache=LeftOut())
    (found,) = decode(tiny_denoiser("llada"), [[1, 2]], made, gen_length=8, block_length=4)
    assert 23 not in found.output_ids


def test_a_stop_that_keeps_nothing_is_named(tiny_denoiser, strategy):
    made = dataclasses.replace(strategy("fixed"), stop=Nowhere())
    with pytest.raises(PartError, match=r"Nowhere.cut\(\) keeps 0 columns"):
        decode(tiny_denoiser("llada"), [[1, 2]], made, gen_length=8, block_length=4)
