"""One decode step's queries: every row's recomputed columns laid end to end, whatever their widths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.models.attention import Group, Ragged, Rows, layout, ragged

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
    """T query columns of a step, and the N of them whose predictions are read.

    tokens, columns: [T] int64. at: [T] flat store columns (None without a cache). read: [N] indices into
    the T packed columns, row by row. length: one past the last column. every, last: how the attention of
    all queries runs, and that of the last layer, which computes only what is read.
    """

    tokens: Tensor
    columns: Tensor
    read: Tensor
    at: Tensor | None
    length: int
    every: tuple[Group | Ragged, ...]
    last: tuple[Group | Ragged, ...]


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


class Layout:
    """Segments laid end to end: what of a step's packing outlives it while the rows stay in their blocks.

    store_length: columns of the KV store, None without a cache. style: how rows attend, one of those that
    `attention` names. slots: of the decode, for "flash". room: columns that the forward computes at least;
    those that no row needs repeat the first slot's first column, and the store's last column takes them.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        store_length: int | None,
        device: torch.device,
        style: str = "rows",
        *,
        slots: int = 0,
        room: int = 0,
    ) -> None:
        self.segments, self.device = list(segments), device
        self._store_length, self._style, self._slot_count = store_length, style, slots
        self._slot, first, last, keys = np.array(self.segments).T
        width = last - first
        self._keys = keys if store_length is not None else width
        self._length = int(last.max())
        self._ends = width.cumsum()
        self._begin = self._ends - width
        self._slots, columns = self._slot.repeat(width), np.arange(self._ends[-1])
        columns += (first - self._begin).repeat(width)
        self._columns = columns
        self._every = self._groups(self._begin, width)
        own = [columns] if store_length is None else [columns, self._slots * store_length + columns]
        if (idle := room - len(columns)) > 0:
            self._slots, self._columns, *own = self._padded(idle, own)
        self._waiting = [*own, *_arrays(self._every)]  # for the first step's copy

    def _padded(self, idle: int, own: list[np.ndarray]) -> list[np.ndarray]:
        """The slots, columns and what else the forward takes, with `idle` columns behind the rows' own."""
        spare = [0, 0, 0] if self._store_length is None else [0, 0, 0, self._store_length - 1]
        parts = [self._slots, self._columns, *own]
        return [np.append(part, np.full(idle, fill)) for part, fill in zip(parts, spare, strict=True)]

    def _place(self, tensors: Iterator[Tensor]) -> None:
        """Take over what waited, now that it lies on the device."""
        columns, at = next(tensors), next(tensors) if self._store_length is not None else None
        self._on_device, self._waiting = (columns, at), []
        self._every = tuple(group.placed(tensors) for group in self._every)

    def _groups(self, start: np.ndarray, count: np.ndarray) -> tuple[Group | Ragged, ...]:
        laid = Rows(self._slot, start, count, self._begin, self._keys)
        if self._style == "flash":
            return (ragged(laid, self._slot_count, self._store_length),)
        return layout(laid, self._store_length is not None, self._style == "padded")

    def pack(
        self, canvas: np.ndarray, read: np.ndarray, extras: Sequence[np.ndarray] = ()
    ) -> tuple[Packed, list[Tensor]]:
        """The forward over what `canvas` [slots, L] holds now, and `extras` in the same copy.

        read: [N] int64 packed indices, row by row.
        """
        ends = read.searchsorted(self._ends)
        starts = np.concatenate((ZERO, ends[:-1]))
        last = self._groups(starts, ends - starts)
        arrays = [canvas[self._slots, self._columns], read, *extras]
        tensors = upload([*arrays, *_arrays(last), *self._waiting], self.device)
        placed = iter(tensors[len(arrays) :])
        last = tuple(group.placed(placed) for group in last)
        if self._waiting:
            self._place(placed)
        columns, at = self._on_device
        packed = Packed(
            tokens=tensors[0],
            columns=columns,
            read=tensors[1],
            at=at,
            length=self._length,
            every=self._every,
            last=last,
        )
        return packed, tensors[2 : len(arrays)]


def _arrays(groups: Sequence[Group | Ragged]) -> list[np.ndarray]:
    return [array for group in groups for array in group.arrays()]
