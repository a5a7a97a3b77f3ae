"""One decode step's queries: every row's recomputed columns laid end to end, whatever their widths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.models.attention import Group, Rows, layout

ZERO = np.zeros(1, np.int64)
ALIGN = 8  # bytes; lets any dtype be viewed at an array's start


class Segment(NamedTuple):
    """The queries of one row: columns [first, last), attending to columns [0, keys) of its slot."""

    slot: int
    first: int
    last: int
    keys: int

    @property
    def width(self) -> int:
        return self.last - self.first


class Packed(NamedTuple):
    """T query columns of a forward, a step or a share of one, and the N of them whose predictions are read.

    tokens, columns: [T] int64. at: [T] flat store columns (None without a cache). read: [N] indices into
    the T packed columns, row by row. length: one past the last column. every, last: how the attention of
    all queries runs, and that of the last layer, which computes only what is read.
    """

    tokens: Tensor
    columns: Tensor
    read: Tensor
    at: Tensor | None
    length: int
    every: tuple[Group, ...]
    last: tuple[Group, ...]


def upload(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """The arrays as tensors on `device`: as views of host memory, or in one pinned, non-blocking copy."""
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in arrays]
    sizes = [-(-array.nbytes // ALIGN) * ALIGN for array in arrays]
    flat = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=device.type == "cuda")
    host, start = flat.numpy(), 0
    for array, size in zip(arrays, sizes, strict=True):
        host[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        start += size
    out = []
    for array, part in zip(arrays, flat.to(device, non_blocking=True).split(sizes), strict=True):
        dtype = torch.from_numpy(array[:0]).dtype
        out.append(part[: array.nbytes].view(dtype).view(array.shape))
    return out


def pack(
    canvas: np.ndarray,
    segments: Sequence[Segment],
    read: np.ndarray,
    store_length: int | None,
    device: torch.device,
    extras: Sequence[np.ndarray] = (),
    batched: bool | None = None,
    runs: Sequence[tuple[int, int]] = (),
) -> tuple[list[Packed], list[Tensor]]:
    """Lay the segments of `canvas` [slots, L] end to end; `extras` ride along in the same copy.

    read: [N] int64 packed indices, row by row. store_length: columns of the KV store, None without a
    cache. batched: attend in few padded batches, as a GPU likes it (the default there), not row by row.
    runs: first and one past the last row of each forward that the step is cut into, one by default. Back
    come those forwards, whose `read` and groups count from their own first column, and the extras.
    """
    stored = store_length is not None
    if batched is None:
        batched = device.type != "cpu"
    slot, first, last, keys = np.array(segments).T
    width = last - first
    ends = width.cumsum()
    begin = ends - width
    columns, slots = np.arange(ends[-1]), slot.repeat(width)
    columns += (first - begin).repeat(width)
    read_ends = read.searchsorted(ends)
    read_starts = np.concatenate((ZERO, read_ends[:-1]))
    keys = keys if stored else width
    laid, counts, read = [], read_ends - read_starts, read.copy() if len(runs) > 1 else read
    for low, high in runs or [(0, len(segments))]:
        rows, origin = slice(low, high), begin[low]
        taken = slice(origin, ends[high - 1]), slice(read_starts[low], read_ends[high - 1])
        if low:
            read[taken[1]] -= origin
        own, place = begin[rows] - origin, read_starts[rows] - read_starts[low]
        every = layout(Rows(slot[rows], own, width[rows], own, keys[rows]), stored, batched)
        final = layout(Rows(slot[rows], place, counts[rows], own, keys[rows]), stored, batched)
        laid.append((taken, int(last[rows].max()), every, final))
    arrays = [canvas[slots, columns], columns, read, *extras]
    if store_length is not None:
        arrays.append(slots * store_length + columns)
    indices = [array for *_, every, final in laid for group in (*every, *final) for array in group.arrays()]
    tensors = upload(arrays + indices, device)
    placed = iter(tensors[len(arrays) :])
    packs = [
        Packed(
            tokens=tensors[0][queries],
            columns=tensors[1][queries],
            read=tensors[2][chosen],
            at=tensors[len(arrays) - 1][queries] if stored else None,
            length=length,
            every=tuple(group.placed(placed) for group in every),
            last=tuple(group.placed(placed) for group in final),
        )
        for (queries, chosen), length, every, final in laid
    ]
    return packs, tensors[3 : 3 + len(extras)]
