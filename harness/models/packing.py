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
    """T query columns of a step and the N of them whose predictions are read.

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
) -> tuple[Packed, list[Tensor]]:
    """Lay the segments of `canvas` [slots, L] end to end; `extras` ride along in the same copy.

    read: [N] int64 packed indices, row by row. store_length: columns of the KV store, None without a
    cache. batched: attend in few padded batches, as a GPU likes it (the default there), not row by row.
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
    arrays = [canvas[slots, columns], columns, read, *extras]
    if store_length is not None:
        arrays.append(slots * store_length + columns)
    read_ends = read.searchsorted(ends)
    read_starts = np.concatenate((ZERO, read_ends[:-1]))
    keys = keys if stored else width
    every = layout(Rows(slot, begin, width, begin, keys), stored, batched)
    final = layout(Rows(slot, read_starts, read_ends - read_starts, begin, keys), stored, batched)
    indices = [array for group in (*every, *final) for array in group.arrays()]
    tensors = upload(arrays + indices, device)
    placed = iter(tensors[len(arrays) :])
    packed = Packed(
        tokens=tensors[0],
        columns=tensors[1],
        read=tensors[2],
        at=tensors[len(arrays) - 1] if stored else None,
        length=int(last.max()),
        every=tuple(group.placed(placed) for group in every),
        last=tuple(group.placed(placed) for group in final),
    )
    return packed, tensors[3 : 3 + len(extras)]
