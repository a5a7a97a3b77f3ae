"""On a CPU, a small model's rows go through the network in shares, side by side, a thread each.

Operations on a few hundred columns gain little from a second thread, whole forwards gain more, and a
share's activations stay in its core's own cache (PERFORMANCE.md has the figures). Large models are bound
by their weights, which every share would read again; they stay in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from harness.models.packing import Packed, Segment
from harness.models.transformer import Denoiser

LEAST = 400  # columns from which on shares pay
COLUMNS = 700  # of a share, about
LAYER_BYTES = 2 << 20  # a layer's weights that every core's own cache may hold


def share_threads(model: Denoiser) -> int:
    """Threads that a step of `model` may be shared among; 1 on a GPU and for large models."""
    layer = sum(weight.numel() * weight.element_size() for weight in model.blocks[0].parameters())
    return torch.get_num_threads() if model.device.type == "cpu" and layer <= LAYER_BYTES else 1


def shares(
    segments: Sequence[Segment], read: np.ndarray, counts: np.ndarray, threads: int
) -> Iterator[tuple[Sequence[Segment], np.ndarray]]:
    """Runs of consecutive rows of about equal columns, each with its own packed indices of what is read.

    read: [N] packed indices of all rows, counts: [B] of each. A whole number of shares a thread.
    """
    widths = np.array([segment.width for segment in segments])
    total = widths.sum()
    if threads == 1 or len(segments) == 1 or total < LEAST:
        yield segments, read
        return
    number = threads * max(1, round(total / (threads * COLUMNS)))
    ends, reads = widths.cumsum(), counts.cumsum()
    home = (ends - widths / 2) * number // total  # the share that a row's middle column falls into
    first = 0
    for end in [*(np.diff(home).nonzero()[0] + 1).tolist(), len(segments)]:
        low = reads[first] - counts[first]
        yield segments[first:end], read[low : reads[end - 1]] - (ends[first] - widths[first])
        first = end


@lru_cache(maxsize=1)
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "share", initializer=torch.set_num_threads, initargs=(1,))


def side_by_side(forward: Callable[[Packed], Tensor], packs: Sequence[Packed], threads: int) -> Tensor:
    """`forward` of all packs, joined along the first dimension; operations use one thread meanwhile."""
    if len(packs) == 1:
        return forward(packs[0])

    def run(packed: Packed) -> Tensor:
        with torch.inference_mode():  # a mode of the thread
            return forward(packed)

    torch.set_num_threads(1)  # MKL's number is the process', not the thread's
    try:
        return torch.cat(list(_workers(threads).map(run, packs)))
    finally:
        torch.set_num_threads(threads)
