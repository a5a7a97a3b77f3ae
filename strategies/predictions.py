"""The device side of a step: what the denoiser predicts at the positions read, measured in few passes.

Shapes: N positions read in all, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from strategies.errors import PartError
from strategies.kernels import kernels

SCANNED = 1 << 23  # logits exponentiated at once
# What can be measured, in the order in which it is taken: noise is drawn before tokens are, and a scan
# for the entropy yields the confidence too.
QUANTITIES = ("uniform", "entropy", "margin", "confidence", "tokens", "best")


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


class Predictions:
    """The logits [N, V] of a step, in any precision, and what can be measured of them, each on its device.

    banned: tokens never predicted. muted: tokens whose predictions have confidence 0. temperature, noise:
    0, or Gumbel noise `noise("gumbel", V)` [N, V] is added to tempered logits; `noise("uniform", 1)` is
    [N, 1]. references: [N] the tokens to commit in place of the predicted ones (the oracle's).
    """

    def __init__(
        self,
        logits: Tensor,
        vocabulary: Vocabulary,
        *,
        banned: Collection[int] = (),
        muted: Collection[int] = (),
        temperature: float = 0.0,
        noise: Callable[[str, int], Tensor] | None = None,
        references: Tensor | None = None,
    ) -> None:
        self.logits, self.vocabulary = logits, vocabulary
        self._banned, self._muted = list(banned), list(muted)
        self._temperature, self._noise, self._references = temperature, noise, references
        self._scanned: Statistics | None = None

    @property
    def always(self) -> tuple[str, ...]:
        """The quantities that every step needs."""
        return ("tokens", "confidence") if self._references is None else ("tokens", "confidence", "best")

    def measure(self, names: Collection[str]) -> dict[str, np.ndarray]:
        """The named quantities on the host, [N] each, in one copy from the device: QUANTITIES are known."""
        found = {name: getattr(self, name) for name in QUANTITIES if name in names}
        return dict(zip(found, to_host(found.values()), strict=True))

    @cached_property
    def best(self) -> Tensor:
        """[N] int64 predicted tokens; the mask token itself is never a prediction."""
        for token in self._banned:
            self.logits[:, token] = torch.finfo(self.logits.dtype).min / 4
        on_cpu = self.logits.device.type == "cpu" and self.logits.dtype != torch.bfloat16
        if self._noise is not None and self._temperature > 0:
            return self._without_mask(self.logits, self._sampled)
        if not on_cpu:
            return self._without_mask(self.logits, lambda logits: logits.argmax(-1))
        # numpy's argmax is vectorised, unlike torch's on a CPU.
        return torch.from_numpy(self._without_mask(self.logits.numpy(), lambda logits: logits.argmax(-1)))

    def _without_mask(self, logits: Any, argmax: Callable[[Any], Any]) -> Any:
        column = logits[:, self.vocabulary.mask_id] + 0
        logits[:, self.vocabulary.mask_id] = -torch.inf
        found = argmax(logits)
        logits[:, self.vocabulary.mask_id] = column
        return found

    def _sampled(self, logits: Tensor) -> Tensor:
        assert self._noise is not None
        return (logits.double() + self._temperature * self._noise("gumbel", logits.shape[1])).argmax(-1)

    @property
    def tokens(self) -> Tensor:
        """[N] int64 tokens to commit: the predicted ones, or the references."""
        best = self.best  # taken before anything is muted: a muted token may be predicted
        return best if self._references is None else self._references

    def _statistics(self, entropy: bool = False) -> Statistics:
        if self._scanned is None or (entropy and self._scanned.mean is None):
            self._scanned = self._scan(entropy)
        return self._scanned

    def _scan(self, entropy: bool) -> Statistics:
        """What one pass over the logits tells; `entropy`: their mean too.

        In float32 or wider. Near 1 a confidence is 1 - (a sum of small terms): they are summed without
        the token's own, which is added in float64, so that their sum keeps its relative accuracy (the
        entropy's too, where the token is the likeliest). A few rows at a time, so that the logits
        themselves stay the only large buffer.
        """
        tokens = self.tokens
        if self._muted:
            self.logits[:, self._muted] = torch.finfo(self.logits.dtype).min / 4
        if kernel := fused_scan(self.logits):
            return Statistics(*kernel(self.logits, tokens, entropy))
        rows = max(1, SCANNED // self.logits.shape[1])
        if len(tokens) <= rows:
            return scan(self.logits, tokens, entropy)
        parts = [
            scan(logits, picked, entropy)
            for logits, picked in zip(self.logits.split(rows), tokens.split(rows), strict=True)
        ]
        confidence, total, mean = zip(*parts, strict=True)
        return Statistics(torch.cat(confidence), torch.cat(total), torch.cat(mean) if entropy else None)

    @property
    def confidence(self) -> Tensor:
        """[N] float64 probability of the token to commit (untempered softmax over the whole vocabulary)."""
        return self._statistics().confidence

    @property
    def entropy(self) -> Tensor:
        """[N] float64 entropy of the prediction in nats."""
        found = self._statistics(entropy=True)
        assert found.mean is not None
        return found.total.log() - found.mean

    @property
    def margin(self) -> Tensor:
        """[N] float64 probability of the best token minus that of the second."""
        total = self._statistics().total
        top = self.logits.topk(2, -1).values.to(torch.promote_types(self.logits.dtype, torch.float32))
        return (1 - (top[:, 1] - top[:, 0]).exp().double()) / total

    @property
    def uniform(self) -> Tensor:
        """[N] float64 uniform random numbers, drawn for each sample from its own generator."""
        if self._noise is None:
            raise PartError("a rule that asks for `uniform` has to say so: random = True")
        return self._noise("uniform", 1)[:, 0]


def fused_scan(logits: Tensor) -> Callable[[Tensor, Tensor, bool], Tensor] | None:
    """One kernel that does what `scan` does, where it applies: on a GPU, up to float32."""
    found = kernels("strategies.fused", logits.device) if logits.dtype != torch.float64 else None
    return found.scan if found else None


def scan(logits: Tensor, tokens: Tensor, entropy: bool) -> Statistics:
    """The statistics of logits [n, V] and the tokens [n] to commit there."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    shifted = wide - wide.amax(-1, keepdim=True)
    weights = shifted.exp() if entropy else shifted.exp_()
    own = weights.gather(1, tokens[:, None])
    mean = shifted.mul_(weights).sum(-1).double() if entropy else None
    rest = weights.scatter_(1, tokens[:, None], 0.0).sum(-1)
    own = own[:, 0].double()
    total = own + rest.double()
    return Statistics(own / total, total, mean / total if mean is not None else None)


def to_host(tensors: Iterable[Tensor]) -> list[np.ndarray]:
    """The tensors [N], int64 or float64, as arrays: views of them on a CPU, else by one copy."""
    parts = list(tensors)
    if parts[0].device.type == "cpu":
        return [part.numpy() for part in parts]
    return in_one_copy(parts)


def in_one_copy(parts: list[Tensor]) -> list[np.ndarray]:
    """The same through one float64 tensor [len(parts), N], which holds token ids exactly."""
    joined = torch.stack([part.double() for part in parts]).cpu().numpy()
    return [
        array if part.is_floating_point() else array.astype(np.int64)
        for array, part in zip(joined, parts, strict=True)
    ]
