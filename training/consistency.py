"""Consistency distillation's pairs: an earlier and a later state of the teacher's own decode.

dParallel's tables have a row "consistency distillation" at 64 forwards; its code is not released. From
consistency models for language (CLLM, arXiv 2403.00835, and CDLM) this takes the principle: from any state
of the teacher's trajectory the student must predict what a later state leads to, so that it can jump there
in one forward. Chosen here: states are the canvas after a forward of the teacher, inside one block of the
semi-autoregressive decode (earlier blocks done, later ones masked), drawn uniformly as earlier < later <=
the block's end. Tokens committed between the two are hard targets (cross-entropy), and at positions still
masked in the later state the student matches the teacher's distribution there (KL), the teacher being the
same weights with the adapter switched off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from training.masking import RowRandom, draw_segment


class States(NamedTuple):
    """Two states of each row, each [B, L]: `open` is masked in both, `committed` in the first alone."""

    earlier: Tensor
    later: Tensor
    committed: Tensor
    open: Tensor


def draw_states(
    tokens: Tensor,
    commit_step: Tensor,
    prompt_lengths: Sequence[int],
    lengths: Sequence[int],
    randomness: Sequence[RowRandom],
    *,
    mask_id: int,
    block_length: int | None,
) -> States:
    """Draw an earlier and a later state of every row's trajectory, each row from its own randomness."""
    committed = torch.zeros(tokens.shape, dtype=torch.bool)
    still, behind = committed.clone(), committed.clone()
    steps = commit_step.cpu()
    for row, (prompt_length, length, drawn) in enumerate(
        zip(prompt_lengths, lengths, randomness, strict=True)
    ):
        start, end = draw_segment(drawn.blocks, prompt_length, length, block_length)
        times = steps[row, start:end]
        moments = [0, *times.unique().tolist()]
        behind[row, end:length] = True
        if len(moments) < 2:
            continue  # an empty remainder has no trajectory
        first = drawn.blocks.randrange(len(moments) - 1)
        second = drawn.blocks.randrange(first + 1, len(moments))
        committed[row, start:end] = (times > moments[first]) & (times <= moments[second])
        still[row, start:end] = times > moments[second]
    committed, still, behind = (part.to(tokens.device) for part in (committed, still, behind))
    return States(
        tokens.masked_fill(committed | still | behind, mask_id),
        tokens.masked_fill(still | behind, mask_id),
        committed,
        still,
    )
