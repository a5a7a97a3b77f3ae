"""On a GPU, narrow steps are replayed from CUDA graphs: launching their operations takes longer than running.

A step of an 8B model has over a thousand operations, some 16 milliseconds of launches on the host of an
H200 whose kernels for 32 columns take 6 (PERFORMANCE.md). A graph holds every layer but the last for one
number of columns; rows, their widths and their keys are among its inputs, so that one serves any step of
as many columns. The last layer depends on what is read and runs behind it, hidden by the device's work.
"""

from __future__ import annotations

import time
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from harness.models.attention import Ragged
from harness.models.kv import KVStore
from harness.models.packing import Packed
from harness.models.transformer import Denoiser

COLUMNS = 1024  # up to which steps are captured: beyond, the device is slower than the launches
GRAIN = ((512, 32), (COLUMNS, 64))  # up to so many columns, graphs lie so far apart


def room(columns: int) -> int:
    """Columns of the narrowest graph that takes a step of `columns`; as many where none does."""
    for limit, grain in GRAIN:
        if columns <= limit:
            return -(-columns // grain) * grain
    return columns


class _Captured(NamedTuple):
    """A graph, the step whose tensors are its inputs, and its output [T, d_model]."""

    graph: torch.cuda.CUDAGraph
    step: Packed
    hidden: Tensor


class Graphs:
    """The graphs of one decode of rows up to `length` columns, captured when a width comes a second time.

    A step must be laid out with all slots of the decode, and with `room` for its columns. capturing:
    seconds spent on captures, while the device rests.
    """

    def __init__(self, model: Denoiser, kv: KVStore | None, length: int) -> None:
        self.model, self.kv, self.length = model, kv, length
        self._tables = model.rope(length)  # graphs read them where they lie now
        self._seen: set[int] = set()
        self._captured: dict[int, _Captured | None] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._loaded: dict[int, Tensor] = {}
        self.capturing = 0.0

    def forward(self, step: Packed) -> Tensor:
        """Logits [N, V] at `step.read`, as `Denoiser.forward_packed` gives them."""
        angles = self.model.angles(step)
        return self.model.tail(step, self.kv, angles, self._body(step, angles))

    def _body(self, step: Packed, angles: tuple[Tensor, Tensor]) -> Tensor:
        width = len(step.tokens)
        if width in self._seen and width not in self._captured:
            self._captured[width] = self._capture(step)
        self._seen.add(width)  # the first step of a width compiles kernels, which a capture must not
        captured = self._captured.get(width)
        if captured is None:
            return self.model.body(step, self.kv, angles)
        self._load(captured, step)
        captured.graph.replay()
        return captured.hidden

    def _capture(self, step: Packed) -> _Captured | None:
        """A graph of any step as wide as this one: all that differs between such steps is its input.

        None beyond COLUMNS, and where memory is short: a decode can do without.
        """
        if len(step.tokens) > COLUMNS:
            return None
        (rows,) = step.every
        assert isinstance(rows, Ragged)
        arrays = (part.clone() for part in _layout(step))
        columns, at = next(arrays), next(arrays) if step.at is not None else None
        rows = rows.placed(arrays)
        rows = rows._replace(widest=min(len(columns), self.length), longest=self.length)
        inputs = step._replace(
            tokens=step.tokens.clone(), columns=columns, at=at, length=self.length, every=(rows,)
        )
        began, graph, stream = time.perf_counter(), torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, self._pool, _stream(self.model.device), "thread_local"):
                cos, sin = (table[columns] for table in self._tables)
                hidden = self.model.body(inputs, self.kv, (cos, sin))
        except RuntimeError as error:
            torch.cuda.set_stream(stream)  # the capture's own may still be the current one
            if not any(isinstance(e, torch.OutOfMemoryError) for e in (error, error.__context__)):
                raise
            return None
        finally:
            self.capturing += time.perf_counter() - began
        return _Captured(graph, inputs, hidden)

    def _load(self, captured: _Captured, step: Packed) -> None:
        """Bring a step's inputs to where the graph reads them; its layout only if it is another's."""
        width = len(step.tokens)
        mine, its = [captured.step.tokens], [step.tokens]
        if self._loaded.get(width) is not step.columns:
            self._loaded[width] = step.columns
            mine, its = mine + _layout(captured.step), its + _layout(step)
        torch._foreach_copy_(mine, its)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """What a device's captures run on: one, because a product's workspace stays with its stream."""
    return torch.cuda.Stream(device)


def _layout(step: Packed) -> list[Tensor]:
    """What a layout, as against the canvas, has brought to the device."""
    (rows,) = step.every
    return [step.columns, *([step.at] if step.at is not None else []), *rows.arrays()]
