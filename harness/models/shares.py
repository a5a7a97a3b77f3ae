"""On a CPU, a small model's rows go through the network in shares, side by side, a thread each.

Operations on a few hundred columns gain little from a second thread, whole forwards gain more, and a
share's activations stay in its core's own cache (PERFORMANCE.md has the figures). Large models are bound
by their weights, which every share would read again; they stay in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from harness.models.packing import Packed, Segment
from harness.models.transformer import Denoiser

LEAST = 400  # columns from which on shares pay
COLUMNS = 700  # of a share, about
OWN_BYTES = 2 << 20  # of a layer's and the head's weights, which every share reads for itself


def share_threads(model: Denoiser) -> int:
    """Threads that a step of `model` may be shared among; 1 on a GPU and for large models."""
    weights = [*model.blocks[0].parameters(), model.embedding.weight]  # the head is as large as the latter
    small = sum(weight.numel() * weight.element_size() for weight in weights) <= OWN_BYTES
    return torch.get_num_threads() if small and model.device.type == "cpu" else 1


def runs_of(segments: Sequence[Segment], threads: int) -> list[tuple[int, int]]:
    """First and one past the last row of each share: runs of about equal columns, as many as threads or a
    multiple of that where the rows' widths allow; one run where shares would not pay."""
    widths = [segment.width for segment in segments]
    total = sum(widths)
    if threads == 1 or len(segments) < threads or total < LEAST:
        return [(0, len(segments))]
    number = threads * max(1, round(total / (threads * COLUMNS)))
    middles = np.cumsum(widths) - np.array(widths) / 2
    home = middles * number // total  # the share that a row's middle column falls into
    bounds = [0, *(np.diff(home).nonzero()[0] + 1).tolist(), len(segments)]
    return list(pairwise(bounds))


class Shares:
    """The threads that a decode's forwards may be shared among."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._found: int | None = None  # threads of operations before they were given one

    def forward(self, compute: Callable[[Packed], Tensor], packs: Sequence[Packed]) -> Tensor:
        """[N, V] `compute` of all packs, joined by a copy along the first dimension where there are several.

        With several, operations use one thread from here on, until a step comes in one piece again or the
        decode ends: PyTorch's own threads wait for work by spinning, which would cost the shares a core.
        Raises what `compute` raises, once no share is running any more.
        """
        if len(packs) == 1:
            self.give_back()
            return compute(packs[0])
        if self._found is None:
            self._found = torch.get_num_threads()
            torch.set_num_threads(1)  # MKL's number is the process', not the thread's

        def run(packed: Packed) -> Tensor:
            with torch.inference_mode():  # a mode of the thread
                return compute(packed)

        futures = [_workers(self.threads).submit(run, packed) for packed in packs]
        wait(futures)
        return torch.cat([future.result() for future in futures])

    def give_back(self) -> None:
        """Let operations use all threads again."""
        if self._found is not None:
            torch.set_num_threads(self._found)
            self._found = None


@lru_cache(maxsize=1)
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "share", initializer=torch.set_num_threads, initargs=(1,))
