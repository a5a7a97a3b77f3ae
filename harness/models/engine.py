"""What runs the forwards of one decode: KV store, packing, and the way of launching that its device likes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.models.graphs import Graphs, room
from harness.models.packing import Layout, Packed, Segment
from harness.models.transformer import Denoiser


class ForwardEngine:
    """The forwards of one decode of up to `slots` rows of up to `length` columns.

    stored: with a KV store, `kv`. On a GPU in half precision narrow steps are replayed from graphs.
    """

    def __init__(self, model: Denoiser, slots: int, length: int, stored: bool) -> None:
        self.model, self.slots = model, slots
        model.join()
        self.style = model.attention_style
        captures = self.style == "flash"
        # A column more than any row has is for what fills a captured step up.
        self.kv = model.new_kv(slots, length + captures) if stored else None
        self.graphs = Graphs(model, self.kv, length) if captures else None
        self._laid: Layout | None = None

    def pack(
        self, segments: list[Segment], canvas: np.ndarray, read: np.ndarray, extras: Sequence[np.ndarray]
    ) -> tuple[Packed, list[Tensor]]:
        """A step's forward, and `extras` on the device: as `Layout.pack`."""
        if self._laid is None or self._laid.segments != segments:
            columns = sum(segment.width for segment in segments)
            self._laid = Layout(
                segments,
                self.kv.length if self.kv is not None else None,
                self.model.device,
                self.style,
                slots=self.slots,
                room=room(columns) if self.graphs else 0,
            )
        return self._laid.pack(canvas, read, extras)

    def forward(self, packed: Packed) -> Tensor:
        """Logits [N, V] of the positions that are read."""
        if self.graphs:
            return self.graphs.forward(packed)
        return self.model.forward_packed(packed, self.kv)

    @property
    def capturing(self) -> float:
        """Seconds spent so far on preparing forwards to be replayed."""
        return self.graphs.capturing if self.graphs else 0.0


def made_current(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which kernels are launched on that GPU; on a CPU it does nothing."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
