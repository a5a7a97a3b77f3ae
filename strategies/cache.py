"""The cache policies: each answers which columns a forward recomputes (Fast-dLLM, arXiv 2505.22618)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from strategies.base import Row
from strategies.proposal import Proposal
from strategies.values import choice


@dataclass(frozen=True)
class NoCache:
    """Every forward recomputes every live column."""

    keeps_kv: ClassVar[bool] = False
    keeps_cut: ClassVar[bool] = False

    def span(self, row: Row) -> tuple[int, int]:
        return 0, row.end

    def transfer(self, p: Proposal, transfer: np.ndarray) -> np.ndarray:
        return transfer


@dataclass(frozen=True)
class _BlockCache:
    """A cache rebuilt by a full forward when a block is entered.

    refresh: what that forward commits: `rule`, as every other forward, or `first`, the block's first
    position alone whatever its confidence, as Fast-dLLM's Dream port does (golden quirk 29).
    """

    refresh: str = choice("rule", "first")

    keeps_kv: ClassVar[bool] = True

    @property
    def keeps_cut(self) -> bool:
        return False

    def transfer(self, p: Proposal, transfer: np.ndarray) -> np.ndarray:
        if self.refresh == "rule":
            return transfer
        first = np.arange(transfer.shape[1]) == 0
        return np.where(p.step == 0, first & p.eligible, transfer)


@dataclass(frozen=True)
class PrefixCache(_BlockCache):
    """Serve what lies before the active block; recompute the block and everything behind it."""

    def span(self, row: Row) -> tuple[int, int]:
        return (0 if row.step == 0 else row.block), row.end


@dataclass(frozen=True)
class DualCache(_BlockCache):
    """Serve prefix and suffix; recompute the active block alone.

    suffix: what is attended to behind an end that a stop rule moved left: `live`, nothing, or `stale`,
    the columns cut off since the refresh, as Learn2PD's cached sampler does (golden quirk 23).
    """

    suffix: str = choice("live", "stale")

    @property
    def keeps_cut(self) -> bool:
        return self.suffix == "stale"

    def span(self, row: Row) -> tuple[int, int]:
        return (0, row.end) if row.step == 0 else (row.block, row.block_end)
