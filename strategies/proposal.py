"""What a rule may see of a step: the denoiser's predictions, each statistic computed when first asked for.

Shapes: B rows still decoding, W columns of the widest region read, N positions read in all, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from strategies.base import UnmaskRule

SCANNED = 1 << 23  # logits exponentiated at once


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
