"""What a rule may see of a step: the denoiser's predictions on the host, each quantity when first asked for.

Shapes: B rows still decoding, W columns of the widest region read, N positions read in all.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from strategies import answers
from strategies.predictions import Predictions, Vocabulary

if TYPE_CHECKING:
    from strategies.base import UnmaskRule


class Proposal:
    """What the denoiser proposes for the region each row reads, from its active block's first column on.

    Everything here is a read-only numpy array: a rule weighs a few numbers a position, which would cost a
    device a launch each. index: [N] flat places in [B, W] of the positions read. eligible: [B, W] bool,
    masked positions of the active block. masked: [B, W] bool, every masked position read. rows: [B, 4] int64,
    split into step, entered, offset, width [B, 1]: forwards already spent on the block, masks it held when
    entered, its first column counted from the generation's, nominal width. The quantities are float64
    unless said otherwise. The first one asked for comes from the device together with the tokens and
    confidences, in one copy; a rule that weighs two others pays for a second copy.
    """

    def __init__(
        self,
        predictions: Predictions,
        index: np.ndarray,
        *,
        eligible: np.ndarray,
        masked: np.ndarray,
        rows: np.ndarray,
        gen_length: int,
        rule: UnmaskRule,
    ) -> None:
        for array in (index, eligible, masked, rows):
            array.flags.writeable = False
        self.predictions, self.index = predictions, index
        self.eligible, self.masked = eligible, masked
        self.step, self.entered, self.offset, self.width = rows.T[:, :, None]
        self.gen_length = gen_length
        self._rule = rule
        self._held: dict[str, np.ndarray] = {}

    @property
    def vocabulary(self) -> Vocabulary:
        return self.predictions.vocabulary

    def spread(self, values: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """[B, W] of `values` [N], `fill` where nothing was read."""
        shape = self.eligible.shape
        if len(values) == self.eligible.size:
            return values.reshape(shape)
        out = np.full(self.eligible.size, fill, values.dtype)
        out[self.index] = values
        return out.reshape(shape)

    def _quantity(self, name: str, fill: float = 0.0) -> np.ndarray:
        if name not in self._held:
            always = () if self._held else self.predictions.always
            self._held |= self.predictions.measure({name, *always})
        return _locked(self.spread(self._held[name], fill))

    @cached_property
    def vouched(self) -> np.ndarray | None:
        """[B, W] bool, what the rule believes final, None where it has no say."""
        found = self._rule.vouched(self)
        if found is None:
            return None
        return _locked(answers.admitted(self._rule, "vouched", found, self.masked.shape))

    @cached_property
    def best(self) -> np.ndarray:
        """[B, W] int64 predicted tokens, -1 where nothing was read; never the mask token."""
        return self._quantity("best", -1)

    @cached_property
    def tokens(self) -> np.ndarray:
        """[B, W] int64 tokens to commit, -1 where nothing was read: the predicted ones, or the oracle's."""
        return self._quantity("tokens", -1)

    @cached_property
    def confidence(self) -> np.ndarray:
        """[B, W] probability of the token to commit (untempered softmax over the whole vocabulary)."""
        return self._quantity("confidence")

    @cached_property
    def entropy(self) -> np.ndarray:
        """[B, W] entropy of the prediction in nats."""
        return self._quantity("entropy")

    @cached_property
    def margin(self) -> np.ndarray:
        """[B, W] probability of the best token minus that of the second."""
        return self._quantity("margin")

    @cached_property
    def uniform(self) -> np.ndarray:
        """[B, W] uniform random numbers, drawn for each sample from its own generator."""
        return self._quantity("uniform")


def _locked(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
