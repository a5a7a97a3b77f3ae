"""What runs the forwards of one decode: KV store, packing, and the way of launching that its device likes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor

from harness.models.graphs import Graphs, room
from harness.models.packing import Layout, Packed, Segment
from harness.models.shares import Shares, runs_of, share_threads
from harness.models.transformer import Denoiser


class ForwardEngine:
    """The forwards of one decode of up to `slots` rows of up to `length` columns.

    stored: with a KV store, `kv`. On a CPU a small model's steps are shared among threads, on a GPU in half
    precision narrow ones are replayed from graphs.
    """

    def __init__(self, model: Denoiser, slots: int, length: int, stored: bool) -> None:
        self.model, self.slots = model, slots
        model.join()
        self.style = model.attention_style
        captures = self.style == "flash"
        # A column more than any row has is for what fills a captured step up.
        self.kv = model.new_kv(slots, length + captures) if stored else None
        self.graphs = Graphs(model, self.kv, length) if captures else None
        self.shares = Shares(share_threads(model))
        self._laid: Layout | None = None

    def pack(
        self, segments: list[Segment], canvas: np.ndarray, read: np.ndarray, extras: Sequence[np.ndarray]
    ) -> tuple[list[Packed], list[Tensor]]:
        """A step's forwards, and `extras` on the device: as `Layout.pack`."""
        if self._laid is None or self._laid.segments != segments:
            columns = sum(segment.width for segment in segments)
            self._laid = Layout(
                segments,
                self.kv.length if self.kv is not None else None,
                self.model.device,
                self.style,
                runs=runs_of(segments, self.shares.threads),
                slots=self.slots,
                room=room(columns) if self.graphs else 0,
            )
        return self._laid.pack(canvas, read, extras)

    def forward(self, packs: Sequence[Packed]) -> Tensor:
        """Logits [N, V] of the positions that the packs read."""
        if self.graphs:
            return self.graphs.forward(*packs)
        return self.shares.forward(lambda part: self.model.forward_packed(part, self.kv), packs)

    @property
    def capturing(self) -> float:
        """Seconds spent so far on preparing forwards to be replayed."""
        return self.graphs.capturing if self.graphs else 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """In this context forwards are launched on the model's own GPU; behind it, operations use all
        threads again."""
        device = self.model.device
        try:
            with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
                yield
        finally:
            self.shares.give_back()
