"""The nouns of a strategy: what it may see of a step (Proposal) and the three rules that act on it.

Shapes: B rows still decoding, W columns of the widest region read, N positions read in all, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from strategies.errors import SpecError

SCANNED = 1 << 23  # logits exponentiated at once


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
class Vocabulary:
    """The special tokens a rule may ask for. terminators: end-of-text first, then end-of-turn tokens."""

    mask_id: int
    terminators: tuple[int, ...]


class Statistics(NamedTuple):
    """Of each position read, [N] float64: the confidence of the token to commit, the sum of exp(logit - peak)
    and the mean of logit - peak under the softmax (None where nobody asked for it)."""

    confidence: Tensor
    total: Tensor
    mean: Tensor | None = None


class Proposal:
    """What the denoiser proposes for the region each row reads, from its active block's first column on.

    logits: [N, V] at the positions read, row by row, in any precision. index: [N] flat places in [B, W].
    eligible: [B, W] bool, masked positions of the active block. masked: [B, W] bool, every masked
    position read. rows: [B, 4] int64, split into step, entered, offset, width: forwards already spent on
    the block, masks it held when entered, its first column counted from the generation's, nominal width.
    Everything else is computed when first asked for; float64 unless said otherwise.
    """

    def __init__(
        self,
        logits: Tensor,
        index: Tensor,
        *,
        eligible: Tensor,
        masked: Tensor,
        rows: Tensor,
        gen_length: int,
        vocabulary: Vocabulary,
        rule: UnmaskRule,
        temperature: float = 0.0,
        noise: Callable[[str, int], Tensor] | None = None,
        references: Tensor | None = None,
    ) -> None:
        self.logits, self.index = logits, index
        self.eligible, self.masked = eligible, masked
        self.step, self.entered, self.offset, self.width = rows.split(1, 1)
        self.gen_length, self.vocabulary = gen_length, vocabulary
        self.references = references  # [B, W] int64, the reference decode's tokens (oracle)
        self._rule, self._temperature, self._noise = rule, temperature, noise

    def spread(self, values: Tensor, fill: float = 0.0) -> Tensor:
        """[B, W] of `values` [N], `fill` where nothing was read."""
        shape = self.eligible.shape
        if len(values) == shape.numel():
            return values.view(shape)
        out = torch.full((shape.numel(),), fill, dtype=values.dtype, device=values.device)
        return out.index_copy_(0, self.index, values).view(shape)

    @cached_property
    def vouched(self) -> Tensor | None:
        """[B, W] bool, what the rule believes final, None where it has no say."""
        return self._rule.vouched(self)

    def _scan(self, entropy: bool) -> Statistics:
        """What one pass over the logits tells; `entropy`: its mean logit too.

        Exponentials in float32 or wider, sums in float64: near 1 a confidence is 1 - (a sum of small
        terms), which this keeps to full relative accuracy. A few rows at a time, so that the logits
        themselves stay the only large buffer.
        """
        chosen = self._chosen  # before anything is muted: a muted token may be predicted
        if muted := self._rule.muted(self.vocabulary):
            self.logits[:, list(muted)] = torch.finfo(self.logits.dtype).min / 4
        rows = max(1, SCANNED // self.logits.shape[1])
        parts = []
        for logits, picked in zip(self.logits.split(rows), chosen[:, None].split(rows), strict=True):
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            shifted = wide - wide.amax(-1, keepdim=True)
            weights = shifted.exp() if entropy else shifted.exp_()
            total = weights.sum(-1, dtype=torch.float64)
            found = [weights.gather(1, picked)[:, 0].double() / total, total]
            if entropy:
                found.append(weights.mul_(shifted).sum(-1, dtype=torch.float64) / total)
            parts.append(found)
        return Statistics(*(torch.cat(part) for part in zip(*parts, strict=True)))

    @cached_property
    def _statistics(self) -> Statistics:
        return self._scan(entropy=False)

    @cached_property
    def best(self) -> Tensor:
        """[N] predicted tokens; the mask token itself is never a prediction."""
        for token in self._rule.banned(self.vocabulary):
            self.logits[:, token] = torch.finfo(self.logits.dtype).min / 4
        mask_column = self.logits[:, self.vocabulary.mask_id].clone()
        self.logits[:, self.vocabulary.mask_id] = -torch.inf
        found = self._argmax()
        self.logits[:, self.vocabulary.mask_id] = mask_column
        return found

    def _argmax(self) -> Tensor:
        if self._temperature > 0:
            assert self._noise is not None
            gumbel = self._noise("gumbel", self.logits.shape[1])
            return (self.logits.double() + self._temperature * gumbel).argmax(-1)
        if self.logits.device.type == "cpu" and self.logits.dtype != torch.bfloat16:
            return torch.from_numpy(self.logits.numpy().argmax(-1))  # vectorised, unlike torch's on a CPU
        return self.logits.argmax(-1)

    @cached_property
    def _chosen(self) -> Tensor:
        return self._rule.choose(self.best, self)

    @cached_property
    def tokens(self) -> Tensor:
        """[B, W] int64 tokens to commit: the predicted ones, unless the rule chooses others."""
        return self.spread(self._chosen, -1)

    @cached_property
    def confidence(self) -> Tensor:
        """[B, W] probability of the token to commit (untempered softmax over the whole vocabulary)."""
        return self.spread(self._statistics.confidence)

    @cached_property
    def entropy(self) -> Tensor:
        """[B, W] entropy of the prediction in nats."""
        self._statistics = found = self._scan(entropy=True)
        assert found.mean is not None
        return self.spread(found.total.log() - found.mean)

    @cached_property
    def margin(self) -> Tensor:
        """[B, W] probability of the best token minus that of the second."""
        total = self._statistics.total
        top = self.logits.topk(2, -1).values.to(torch.promote_types(self.logits.dtype, torch.float32))
        return self.spread((1 - (top[:, 1] - top[:, 0]).exp().double()) / total)

    @cached_property
    def uniform(self) -> Tensor:
        """[B, W] uniform random numbers, drawn for each sample from its own generator."""
        assert self._noise is not None
        return self.spread(self._noise("uniform", 1)[:, 0])


@dataclass(frozen=True)
class UnmaskRule:
    """Which masked positions of the active block to commit at a forward: a `score` and an `admit`.

    reads_block: the rule also looks at the block's committed positions.
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

    def choose(self, best: Tensor, p: Proposal) -> Tensor:
        """[N] the tokens to commit, given the model's own predictions `best` [N]."""
        return best

    def score(self, p: Proposal) -> Tensor:
        """[B, W], higher commits sooner."""
        return p.confidence

    def admit(self, p: Proposal, score: Tensor) -> Tensor:
        """[B, W] bool; `score` is -inf where a position is not eligible."""
        raise SpecError(f"{type(self).__name__} defines no admit()")

    def vouched(self, p: Proposal) -> Tensor | None:
        """[B, W] bool, positions the rule believes final (Learn2PD's filter), None where it has no say."""
        return None

    def transfer_index(self, p: Proposal) -> Tensor:
        """[B, W] bool, positions to commit: the best eligible one always, so every forward makes progress."""
        score = self.score(p).masked_fill(~p.eligible, -torch.inf)
        admitted = self.admit(p, score) & p.eligible
        if self.patient:
            return admitted
        return admitted.scatter(1, score.argmax(1, keepdim=True), p.eligible.any(1, keepdim=True))


class CacheRule(Protocol):
    """Which columns a forward recomputes; every other live column is served from the KV store."""

    keeps_kv: ClassVar[bool]

    @property
    def keeps_cut(self) -> bool:
        """Columns a stop rule cut off since the last refresh are still attended to."""
        ...

    def span(self, row: Row) -> tuple[int, int]:
        """First and one past the last column to recompute for `row`."""
        ...

    def transfer(self, p: Proposal, transfer: Tensor) -> Tensor:
        """[B, W] the rule's choice, or what the cache's published variant commits in its place."""
        ...


class StopRule(Protocol):
    """Where a row ends; moving the end left is both the truncation and the early stop.

    reads_tail: without a cache, the positions behind the active block are read too.
    """

    @property
    def reads_tail(self) -> bool: ...

    def cut(self, p: Proposal, transfer: Tensor, vouched: Tensor | None) -> Tensor | None:
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
