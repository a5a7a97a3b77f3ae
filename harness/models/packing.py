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


def upload(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """The int64 arrays as flat tensors on `device`, in one (pinned, non-blocking) copy."""
    flat = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    if device.type == "cuda":
        flat = flat.pin_memory().to(device, non_blocking=True)
    return list(flat.split([array.size for array in arrays]))


def pack(
    canvas: np.ndarray,
    segments: Sequence[Segment],
    read: np.ndarray,
    store_length: int | None,
    device: torch.device,
    extras: Sequence[np.ndarray] = (),
) -> tuple[Packed, list[Tensor]]:
    """Lay the segments of `canvas` [slots, L] end to end; `extras` (int64) ride along in the same copy.

    read: [N] int64 packed indices. store_length: columns of the KV store, None without a cache.
    """
    columns = np.concatenate([np.arange(s.first, s.last) for s in segments])
    slots = np.repeat(np.array([s.slot for s in segments]), [s.width for s in segments])
    at = slots * store_length + columns if store_length is not None else np.empty(0, np.int64)
    tokens_, columns_, read_, at_, *rest = upload(
        [canvas[slots, columns], columns, read, at, *extras], device
    )
    ends = [s.keys for s in segments]
    same_width = len({s.width for s in segments}) == 1
    first = segments[0].slot
    in_order = store_length is None or all(s.slot == first + i for i, s in enumerate(segments))
    uniform = same_width and in_order and (store_length is not None or len(set(ends)) == 1)
    key_mask = None
    if uniform and len(set(ends)) > 1:
        key_mask = (torch.arange(max(ends)) < torch.tensor(ends)[:, None])[:, None, None].to(device)
    packed = Packed(
        segments=tuple(segments),
        tokens=tokens_,
        columns=columns_,
        read=read_,
        at=at_ if store_length is not None else None,
        key_mask=key_mask,
        uniform=uniform,
    )
    return packed, rest
