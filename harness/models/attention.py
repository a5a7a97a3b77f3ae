"""How the attention of one decode step runs: ragged rows in one kernel, in few batches, or one by one.

The three styles: "flash", one variable-length kernel for rows of any widths (a GPU in half precision);
"padded", few batches with masks, as a GPU likes it; "rows", without padding (a CPU).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.models.elementwise import HALVES


class Rows(NamedTuple):
    """The rows of a step, int64 arrays [R]: slot, first query, queries, first packed column, keys.

    keys: columns attended to, from the slot's first on where there is a store, else from `begin` on.
    """

    slot: np.ndarray
    start: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # shadows tuple.count, which nothing here calls
    begin: np.ndarray
    keys: np.ndarray

    def some(self, which: Any) -> Rows:
        """Those that a slice or a mask picks."""
        return Rows(*(part[which] for part in self))


AMPERE = (8, 0)  # the first compute capability that has the variable-length kernel
FLASH_HEAD = 256  # its largest head size; it takes multiples of 8


def style_of(device: torch.device, dtype: torch.dtype, head_dim: int) -> str:
    """The best style for a model's device, dtype and head size."""
    if device.type == "cpu":
        return "rows"
    fits = dtype in HALVES and head_dim <= FLASH_HEAD and head_dim % 8 == 0
    built = device.type == "cuda" and torch.version.hip is None
    built = built and torch.backends.cuda.is_flash_attention_available()
    return "flash" if fits and built and torch.cuda.get_device_capability(device) >= AMPERE else "padded"


class Ragged(NamedTuple):
    """Rows of any widths for the variable-length kernel, one for each slot, those at rest without queries.

    starts: [slots + 1] int32, each row's first query among the N. keys: [slots + 1] int32, its first
    column in the flattened store, or without one its first packed column. used: [slots] int32, columns of
    the store attended to. widest, longest: bounds of a row's queries and keys. pairs: query-key pairs.
    """

    starts: Any
    keys: Any
    used: Any
    widest: int
    longest: int
    pairs: int

    def arrays(self) -> Iterator[Any]:
        """What has to be brought to the device, or lies there."""
        yield from (part for part in (self.starts, self.keys, self.used) if part is not None)

    def placed(self, tensors: Iterator[Tensor]) -> Ragged:
        """The same with its arrays taken from `tensors`, where they lie on the device."""
        starts, keys = next(tensors), next(tensors)
        return self._replace(starts=starts, keys=keys, used=None if self.used is None else next(tensors))


def ragged(rows: Rows, slots: int, store_length: int | None) -> Ragged:
    """The rows as the variable-length kernel takes them; without a store, they lie in the slots' order."""
    counts, used = np.zeros(slots, np.int32), np.zeros(slots, np.int32)
    counts[rows.slot], used[rows.slot] = rows.count, rows.keys
    begin = np.arange(slots + 1) * store_length if store_length is not None else _edges(used)
    return Ragged(
        starts=_edges(counts),
        keys=begin.astype(np.int32),
        used=used if store_length is not None else None,
        widest=max(2, int(rows.count.max())),  # told of 1, the kernel takes it for the width of all rows
        longest=int(rows.keys.max()),
        pairs=int((rows.count * rows.keys).sum()),
    )


def _edges(sizes: np.ndarray) -> np.ndarray:
    """Where parts of those sizes begin, and one past the last."""
    return np.concatenate((np.zeros(1, np.int32), sizes.cumsum(dtype=np.int32)))


class Group(NamedTuple):
    """R rows whose attention runs as one batch.

    queries: their places among the N queries, a slice of R times one width or [R, width] indices, N
    where a row has fewer. keys: their slots of the store, or without one their packed columns, a slice
    of R times one length or [R, longest] indices. mask: [R] columns attended to (once on the device,
    [R, 1, 1, longest] bool), None where all rows attend to `longest`.
    """

    rows: int
    queries: slice | Any
    keys: slice | Any
    longest: int
    mask: Any = None

    def arrays(self) -> Iterator[np.ndarray]:
        """What has to be brought to the device."""
        yield from (part for part in (self.queries, self.keys, self.mask) if isinstance(part, np.ndarray))

    def placed(self, tensors: Iterator[Tensor]) -> Group:
        """The same with its arrays taken from `tensors`, where they lie on the device."""
        if self.mask is None and isinstance(self.queries, slice) and isinstance(self.keys, slice):
            return self

        def place(part: Any) -> Any:
            return next(tensors) if isinstance(part, np.ndarray) else part

        queries, keys, mask = place(self.queries), place(self.keys), place(self.mask)
        if mask is not None:
            columns = torch.arange(self.longest, device=mask.device)
            mask = (columns < mask[:, None])[:, None, None]
        return self._replace(queries=queries, keys=keys, mask=mask)


def layout(rows: Rows, stored: bool, batched: bool) -> tuple[Group, ...]:
    """The fewest batches that waste nothing; `batched` trades padding for fewer, as a GPU likes it."""
    if _alike(rows, stored):
        return (_whole(rows, stored),)
    if batched:
        widths, often = np.unique(rows.count, return_counts=True)
        usual = rows.count == widths[often.argmax()]
        return tuple(
            _padded(rows.some(which), stored, int(rows.count.sum()))
            for which in (usual, ~usual)
            if which.any()
        )
    return tuple(
        _contiguous(1, slot if stored else begin, start, count, keys, stored)
        for slot, start, count, begin, keys in zip(*(part.tolist() for part in rows), strict=True)
        if count
    )


def _alike(rows: Rows, stored: bool) -> bool:
    """Rows of one width that lie side by side, so that slices address them."""
    if len(rows.slot) == 1:
        return True
    side_by_side = (np.diff(rows.slot) == 1).all() if stored else (rows.keys == rows.keys[0]).all()
    return bool(side_by_side and rows.count[0] and (rows.count == rows.count[0]).all())


def _whole(rows: Rows, stored: bool) -> Group:
    longest = int(rows.keys.max())
    first = int(rows.slot[0] if stored else rows.begin[0])
    mask = rows.keys if (rows.keys != longest).any() else None
    start, width = int(rows.start[0]), int(rows.count[0])
    return _contiguous(len(rows.slot), first, start, width, longest, stored, mask)


def _contiguous(
    rows: int, first: int, start: int, width: int, longest: int, stored: bool, mask: np.ndarray | None = None
) -> Group:
    """Rows whose queries lie side by side from `start`, and whose slots, or packed keys, from `first` on."""
    keys = slice(first, first + rows * (1 if stored else longest))
    return Group(rows, slice(start, start + rows * width), keys, longest, mask)


def _padded(rows: Rows, stored: bool, total: int) -> Group:
    width, longest = int(rows.count.max()), int(rows.keys.max())
    places, columns = np.arange(width), np.arange(longest)
    return Group(
        rows=len(rows.slot),
        queries=np.where(places < rows.count[:, None], rows.start[:, None] + places, total),
        keys=rows.slot if stored else rows.begin[:, None] + np.minimum(columns, rows.keys[:, None] - 1),
        longest=longest,
        mask=rows.keys if (rows.keys != longest).any() else None,
    )


def attend(
    q: Tensor, k: Tensor, v: Tensor, groups: tuple[Group | Ragged, ...], stored: bool, gqa: bool
) -> Tensor:
    """[N, H, D] attention of the queries q [N, H, D] to their rows' keys and values.

    k, v: [slots, length, KV heads, D] of a store, else the step's own [T, KV heads, D].
    """
    if groups and isinstance(groups[0], Ragged):
        if stored:
            k, v = k.flatten(0, 1), v.flatten(0, 1)
        return flash(q, k, v, groups[0])
    return _grouped(q, k, v, cast("tuple[Group, ...]", groups), stored, gqa)


def _grouped(q: Tensor, k: Tensor, v: Tensor, groups: tuple[Group, ...], stored: bool, gqa: bool) -> Tensor:
    if len(groups) == 1 and isinstance(groups[0].queries, slice):
        return _group(q, k, v, groups[0], stored, gqa).flatten(0, 1)
    out = q.new_empty(len(q) + 1, *q.shape[1:])  # the last place takes what padding computes
    for group in groups:
        found = _group(q, k, v, group, stored, gqa)
        out[group.queries] = found.flatten(0, 1) if isinstance(group.queries, slice) else found
    return out[:-1]


def flash(q: Tensor, k: Tensor, v: Tensor, rows: Ragged) -> Tensor:
    """[N, H, D] by one variable-length kernel; what lies in no row stays as it was in memory.

    k, v: [columns, KV heads, D]. The operator itself, because its public wrapper, varlen_attn, has come
    to know of rows that use a part of their keys with torch 2.12 only.
    """
    return torch.ops.aten._flash_attention_forward(
        q, k, v, rows.starts, rows.keys, rows.widest, rows.longest, 0.0, False, False, seqused_k=rows.used
    )[0]


def _group(q: Tensor, k: Tensor, v: Tensor, group: Group, stored: bool, gqa: bool) -> Tensor:
    """[R, width, H, D] of one group."""
    if isinstance(group.queries, slice):
        q = q[group.queries].unflatten(0, (group.rows, -1))
    else:
        q = q[group.queries.clamp_max(len(q) - 1)]
    if stored:
        k, v = (part[group.keys, : group.longest] for part in (k, v))
    elif isinstance(group.keys, slice):
        k, v = (part[group.keys].unflatten(0, (group.rows, -1)) for part in (k, v))
    else:
        k, v = k[group.keys], v[group.keys]
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, group.mask, enable_gqa=gqa).transpose(1, 2)
