"""One decode step's queries: every row's recomputed columns laid end to end, whatever their widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Segment:
    """The queries of one row: columns [first, last), attending to columns [0, keys) of its slot."""

    slot: int
    first: int
    last: int
    keys: int

    @property
    def width(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class Packed:
    """T query columns of a step and the N of them whose predictions are read.

    tokens, columns: [T] int64. at: [T] flat store columns (None without a cache). read: [N] indices into
    the T packed columns. key_mask: [B, 1, 1, K] bool where rows of one width attend to unequal lengths.
    """

    segments: tuple[Segment, ...]
    tokens: Tensor
    columns: Tensor
    read: Tensor
    at: Tensor | None
    key_mask: Tensor | None
    uniform: bool  # one query width for all rows, in consecutive slots: attention runs as one batch


def pack(
    canvas: np.ndarray,
    segments: Sequence[Segment],
    read: np.ndarray,
    store_length: int | None,
    device: torch.device,
) -> Packed:
    """Lay the segments of `canvas` [slots, L] end to end; one upload a step.

    read: [N] int64 packed indices. store_length: columns of the KV store, None without a cache.
    """
    columns = np.concatenate([np.arange(s.first, s.last) for s in segments])
    slots = np.repeat(np.array([s.slot for s in segments]), [s.width for s in segments])
    parts = [canvas[slots, columns], columns, read]
    if store_length is not None:
        parts.append(slots * store_length + columns)
    flat = torch.from_numpy(np.concatenate(parts))
    if device.type == "cuda":
        flat = flat.pin_memory().to(device, non_blocking=True)
    total = len(columns)
    pieces = flat.split([total, total, len(read)] + ([total] if store_length is not None else []))

    ends = [s.keys for s in segments]
    same_width = len({s.width for s in segments}) == 1
    consecutive = store_length is None or [s.slot for s in segments] == list(
        range(segments[0].slot, segments[0].slot + len(segments))
    )
    uniform = same_width and consecutive and (store_length is not None or len(set(ends)) == 1)
    key_mask = None
    if uniform and len(set(ends)) > 1:
        key_mask = (torch.arange(max(ends)) < torch.tensor(ends)[:, None])[:, None, None].to(device)
    return Packed(
        segments=tuple(segments),
        tokens=pieces[0],
        columns=pieces[1],
        read=pieces[2],
        at=pieces[3] if store_length is not None else None,
        key_mask=key_mask,
        uniform=uniform,
    )
