"""The nouns of a strategy: the row being decoded and the three rules that act on it.

Rules see and return numpy arrays. Shapes: B rows still decoding, W columns of the widest region read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from strategies import answers
from strategies.errors import PartError, SpecError
from strategies.predictions import Vocabulary
from strategies.proposal import Proposal


@dataclass
class Row:
    """Host-side bookkeeping of one sample: plain ints, so that scheduling never waits for the device."""

    sample: int  # index of the prompt
    slot: int  # its row of the canvas and of the KV store
    start: int  # first generated column
    end: int  # one past the last live column; a stop rule moves it left
    block_length: int
    block: int  # first column of the active block
    step: int = 0  # forwards spent on the active block
    entered: int = 0  # masks the active block held when it was entered
    keys: int = 0  # columns the cached forwards attend to: the end at the last refresh or now
    nfe: int = 0  # forwards this sample took part in
    refreshes: int = 0  # of these, those that recomputed everything for a cache
    queries: int = 0  # columns those forwards recomputed

    @property
    def block_end(self) -> int:
        return min(self.block + self.block_length, self.end)

    @property
    def finished(self) -> bool:
        return self.block >= self.end


@dataclass(frozen=True)
class UnmaskRule:
    """Which masked positions of the active block to commit at a forward: a `score` and an `admit`.

    reads_block: the rule also looks at the block's committed positions.
    needs_reference: what it commits are the tokens of another decode (the oracle).
    whole_region: the generation region is one block, whatever the block length (Dream's schedule).
    patient: a forward may commit nothing (the schedule says when); every other rule commits its best.
    random: the rule draws from the samples' generators.
    """

    reads_block: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = False

    @property
    def whole_region(self) -> bool:
        return False

    @property
    def patient(self) -> bool:
        return False

    @property
    def random(self) -> bool:
        return False

    def check(self, gen_length: int, block_length: int) -> None:
        """Raise SpecError where the rule cannot decode such a region."""

    def banned(self, vocabulary: Vocabulary) -> tuple[int, ...]:
        """Tokens never predicted."""
        return ()

    def muted(self, vocabulary: Vocabulary) -> tuple[int, ...]:
        """Tokens whose predictions have confidence 0."""
        return ()

    def score(self, p: Proposal) -> np.ndarray:
        """[B, W] float64, higher commits sooner. The proposal's arrays are read-only, but may be returned."""
        return p.confidence

    def admit(self, p: Proposal, score: np.ndarray) -> np.ndarray:
        """[B, W] bool; `score`, float64, is -inf where a position is not eligible.

        This and `score` may answer with CPU tensors too.
        """
        raise SpecError(f"{type(self).__name__} defines no admit()")

    def vouched(self, p: Proposal) -> np.ndarray | None:
        """[B, W] bool, positions the rule believes final (Learn2PD's filter), None where it has no say."""
        return None

    def transfer_index(self, p: Proposal) -> np.ndarray:
        """[B, W] bool, positions to commit: the best eligible one always, so every forward makes progress.

        Raises PartError where `score` or `admit` answers anything but such arrays.
        """
        shape = p.eligible.shape
        score = np.where(p.eligible, answers.scored(self, self.score(p), shape), -np.inf)
        if np.isnan(score).any():
            if (p.confidence >= 0).all():
                raise PartError(f"{type(self).__name__}.score() answers NaN")
            return p.eligible  # the NaN is the model's, as the loop will say
        admitted = answers.admitted(self, "admit", self.admit(p, score), shape) & p.eligible
        if not self.patient:
            rows, best = np.arange(len(score)), score.argmax(1)
            lost = ~p.eligible[rows, best]  # a rule may score even eligible positions -inf
            if lost.any():
                best[lost] = p.eligible[lost].argmax(1)
            admitted[rows, best] = p.eligible[rows, best]
        return admitted


class CacheRule(Protocol):
    """Which columns a forward recomputes; every other live column is served from the KV store."""

    keeps_kv: ClassVar[bool]

    @property
    def keeps_cut(self) -> bool:
        """Columns a stop rule cut off since the last refresh are still attended to."""
        ...

    def span(self, row: Row) -> tuple[int, int]:
        """First and one past the last column to recompute for `row`: all that is still masked in its block.

        With `keeps_kv`, (0, row.end) is a refresh, and a row's first forward has to be one.
        """
        ...

    def transfer(self, p: Proposal, transfer: np.ndarray) -> np.ndarray:
        """[B, W] the rule's choice, or what the cache's published variant commits in its place."""
        ...


class StopRule(Protocol):
    """Where a row ends; moving the end left is both the truncation and the early stop.

    reads_tail: without a cache, the positions behind the active block are read too.
    """

    @property
    def reads_tail(self) -> bool: ...

    def cut(self, p: Proposal, transfer: np.ndarray, vouched: np.ndarray | None) -> np.ndarray | None:
        """[B] columns of the region to keep (gen_length: no cut), None where the rule never cuts."""
        ...


@dataclass(frozen=True)
class Strategy:
    """An unmasking rule, a cache policy, a stop rule and the weights they decode with.

    spec: the text that names it (and re-creates it); expanded: the same with presets spelled out.
    """

    spec: str
    expanded: str
    unmask: UnmaskRule
    cache: CacheRule
    stop: StopRule
    adapter: str | None = None

    def check(self, gen_length: int, block_length: int) -> None:
        """Raise SpecError where these parts cannot decode such a region together."""
        if self.unmask.whole_region and self.cache.keeps_kv:
            raise SpecError(
                f"{self.spec}: a schedule over the whole region has no blocks for a cache to refresh at;"
                " use schedule=uniform or schedule=dream-block"
            )
        self.unmask.check(gen_length, block_length)
