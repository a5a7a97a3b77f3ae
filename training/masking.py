"""The noise of certainty-forcing distillation: two complementary views of a response, drawn row by row."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

MASK_RATIO = 0.5
MIN_RATIO = 1e-3  # dParallel's floor: a ratio r masks with probability (1 - floor) * r + floor


class Segment(NamedTuple):
    """The columns [start, end) of a row that are noised; what lies behind them is all mask."""

    start: int
    end: int


class Views(NamedTuple):
    """Two noised copies of a batch, each [B, L]; `masked` and `masked_rev` share the segments out."""

    noisy: Tensor
    noisy_rev: Tensor
    masked: Tensor
    masked_rev: Tensor


class RowRandom(NamedTuple):
    """One row's own randomness: Python's for the segment, torch's for the mask (as in the reference)."""

    blocks: random.Random
    tokens: torch.Generator

    @classmethod
    def of(cls, seed: int, epoch: int, index: int) -> RowRandom:
        """The randomness of one example in one epoch, whatever the batch, the process or the resumption."""
        blocks = random.Random(f"{seed}/{epoch}/{index}")
        return cls(blocks, torch.Generator().manual_seed(blocks.getrandbits(63)))


def draw_segment(blocks: random.Random, prompt_length: int, length: int, block_length: int | None) -> Segment:
    """Draw which block of the response is noised (arXiv 2509.26488, semi-autoregressive forward masking).

    A random number of whole blocks stays clean and the next one is the segment. Where the draw is the
    number of whole blocks, the segment is the remainder, which may be empty. block_length None makes the
    whole response the segment (the Dream form).
    """
    if block_length is None:
        return Segment(prompt_length, length)
    whole = (length - prompt_length) // block_length
    clean = blocks.randint(0, whole)
    start = prompt_length + clean * block_length
    return Segment(start, length if clean == whole else start + block_length)


def forward_masking(
    tokens: Tensor,
    prompt_lengths: Sequence[int],
    randomness: Sequence[RowRandom],
    *,
    mask_id: int,
    block_length: int | None,
    lengths: Sequence[int] | None = None,
    ratio: float = MASK_RATIO,
) -> Views:
    """Noise a batch [B, L] of prompt + response rows, each row from its own randomness alone.

    lengths: where each row ends (default L); padding behind it is left as it is. In both views the blocks
    before the segment are clean and all columns from its end on are mask, but only the segment's masked
    positions are in `masked` or `masked_rev`, each of them in exactly one.
    """
    probability = (1 - MIN_RATIO) * ratio + MIN_RATIO
    masked = torch.zeros(tokens.shape, dtype=torch.bool)
    masked_rev, behind = masked.clone(), masked.clone()
    for row, (prompt_length, drawn) in enumerate(zip(prompt_lengths, randomness, strict=True)):
        length = tokens.shape[1] if lengths is None else lengths[row]
        start, end = draw_segment(drawn.blocks, prompt_length, length, block_length)
        masked[row, start:end] = torch.rand(end - start, generator=drawn.tokens) < probability
        masked_rev[row, start:end] = ~masked[row, start:end]
        behind[row, end:length] = True
    masked, masked_rev, behind = (part.to(tokens.device) for part in (masked, masked_rev, behind))
    return Views(
        tokens.masked_fill(masked | behind, mask_id),
        tokens.masked_fill(masked_rev | behind, mask_id),
        masked,
        masked_rev,
    )
