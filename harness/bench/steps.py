"""Where a decode step's time goes: the forward, the selection, the bookkeeping, and the bare forward."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.bench.clock import Span, Spread, clock, now, seconds
from harness.bench.roofline import Roofline, Window
from harness.bench.workload import D, Workload
from harness.decoding.decoder import Decoder, Region
from harness.decoding.lanes import lanes_of, workers
from harness.decoding.loop import drive
from harness.models.attention import Group, Ragged
from harness.models.engine import made_current
from harness.models.packing import Packed, Segment
from strategies import Proposal, Row, Strategy

REPLAYED = 12  # forwards replayed on their own, spread over the decode


@dataclass(frozen=True)
class Step:
    """Seconds of one step, waiting between its parts not counted: in all, in the forward, which began at
    `began` on the clock, and in the selection. What it computed: its segments, the positions read of each
    [B], its packed columns."""

    total: float
    began: float
    forward: float
    selection: float
    segments: tuple[Segment, ...]
    counts: np.ndarray
    packed: Packed

    @property
    def window(self) -> Window:
        """The shape of its forward; with a store, rows attend to more than their own columns."""
        return window(self.segments, self.counts, self.packed.at is not None)


class TimedDecoder(Decoder):
    """A decoder that notes what each step cost. The device is not held up between forward and selection.

    What takes more than a note is worked out afterwards, so that it does not count as the decode's.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.steps: list[Step] = []
        self._segments: list[Segment] = []

    def plan(self) -> Packed:
        self._segments.clear()
        began = now(self.model.device)
        self._packed = super().plan()
        self._planning = now() - began
        return self._packed

    def compute(self, packed: Packed) -> Tensor:
        captured, began = self.engine.capturing, now()
        self._span = Span(self.model.device)
        self._span.begin()
        logits = super().compute(packed)
        self._span.end()
        self._captured = self.engine.capturing - captured
        self._launching = now() - began - self._captured
        return logits

    def settle(self, logits: Tensor) -> None:
        began = now()
        super().settle(logits)
        settling = now(self.model.device) - began
        forward = self._span.seconds - self._captured
        self.steps.append(
            Step(
                total=self._planning + self._launching + settling,
                began=self._span.began,
                forward=forward,
                selection=self._launching + self._chosen - began - forward,
                segments=tuple(self._segments),
                counts=self._counts,
                packed=self._packed,
            )
        )

    def _segment(self, row: Row) -> Segment:
        self._segments.append(super()._segment(row))
        return self._segments[-1]

    def _choose(
        self, rows: list[Row], logits: Tensor, region: Region, references: list[Tensor]
    ) -> tuple[Proposal, np.ndarray, np.ndarray | None]:
        chosen = super()._choose(rows, logits, region, references)
        self._chosen = now(self.model.device)
        self._counts = region.counts
        return chosen

    @torch.inference_mode()  # a mode of the thread
    def replay(self, i: int) -> Tensor:
        """The forward of step `i` alone, on what the store holds now."""
        return self.engine.forward(self.steps[i].packed)


def window(segments: Sequence[Segment], counts: np.ndarray, stored: bool) -> Window:
    """The shape of a forward. counts: [B] positions read of each row."""
    widths = np.array([segment.width for segment in segments])
    keys = np.array([segment.keys for segment in segments]) if stored else widths
    return Window(
        columns=int(widths.sum()),
        read=int(counts.sum()),
        keys=int(keys.sum()) if stored else 0,
        pairs=int((widths * keys).sum()),
        read_pairs=int((counts * keys).sum()),
    )


def merged(windows: Iterable[Window]) -> Window:
    """The windows as those of one forward."""
    return Window(*map(sum, zip(*(dataclasses.astuple(window) for window in windows), strict=True)))


def pairs(group: Group | Ragged) -> int:
    """Query-key pairs that a group computes, padding to one width included, a kernel's own tiles not."""
    if isinstance(group, Ragged):
        return group.pairs
    places = group.queries
    queries = places.stop - places.start if isinstance(places, slice) else places.numel()
    return queries * group.longest


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds in which at least one of the spans, begin and duration each, runs."""
    total, end = 0.0, -math.inf
    for began, lasted in sorted(spans):
        total += max(0.0, began + lasted - max(began, end))
        end = max(end, began + lasted)
    return total


@dataclass(frozen=True)
class StepCost:
    """A decode's steps summed up, those of all its lanes.

    lanes: of the decode. rows, columns: of a step, on average. Milliseconds a step, medians over the steps:
    total, forward, selection, bookkeeping; bare: a forward of the same windows alone, or as many at once as
    lanes compute side by side. host: seconds not in the forward over all seconds of the steps. outside: the
    share of the whole decode, admission and release included, in which no forward ran: less than `host` where
    lanes hide what surrounds one's forwards behind another's. capturing_ms: once a decode, on preparing
    forwards to be replayed; in none of the others. useful_columns, useful_pairs: what the rows needed over
    what was computed. floor_share: the machine's floor over the bare forward. binding: what that floor is
    bound by. flops, bandwidth: the rates that it is taken from, a second.
    """

    lanes: int
    steps: int
    rows: float
    columns: float
    total_ms: Spread
    forward_ms: Spread
    selection_ms: Spread
    bookkeeping_ms: Spread
    bare_ms: Spread
    host: float
    outside: float
    capturing_ms: float
    useful_columns: float
    useful_pairs: float
    floor_ms: float
    floor_share: float
    binding: str
    flops: float
    bandwidth: float


@torch.inference_mode()
def step_cost(
    workload: Workload, strategy: Strategy, batch_size: int, measure: Callable[[], Roofline]
) -> StepCost:
    """Decode the workload's first prompts, again under timed decoders, then replay some forwards alone.

    measure: the machine's rates now; taken right before and behind the replays, because rates may drift.
    """
    device = workload.model.device
    prompts = workload.prompts[: max(batch_size, 2)]
    references = workload.references(prompts, strategy)

    slots = min(batch_size, len(prompts))
    # This process' time counts what other lanes compute meanwhile.
    sizes = lanes_of(workload.model, slots) if clock() == "wall" else [slots]

    def made(kind: type[D]) -> list[D]:
        return [workload.decoder(kind, prompts, strategy, own) for own in sizes]

    drive(made(Decoder), prompts, references=references)
    lanes = made(TimedDecoder)
    began = now(device)
    drive(lanes, prompts, references=references)
    captured = sum(lane.engine.capturing for lane in lanes)  # the replays below may capture more
    whole = now(device) - began - captured
    steps = [step for lane in lanes for step in lane.steps]
    windows, packs = [step.window for step in steps], [step.packed for step in steps]
    total, forward = sum(step.total for step in steps), sum(step.forward for step in steps)
    rates = measure()
    bare, shapes = _bare(lanes)
    rates = rates.best(measure())
    size = workload.model.embedding.weight.element_size()
    floors, bindings = zip(
        *(rates.floor(workload.model.config, shape, size) for shape in shapes), strict=True
    )
    return StepCost(
        lanes=len(lanes),
        steps=len(steps),
        rows=statistics.mean(len(step.segments) for step in steps),
        columns=statistics.mean(w.columns for w in windows),
        total_ms=Spread.of([1e3 * step.total for step in steps]),
        forward_ms=Spread.of([1e3 * step.forward for step in steps]),
        selection_ms=Spread.of([1e3 * step.selection for step in steps]),
        bookkeeping_ms=Spread.of([1e3 * (step.total - step.forward - step.selection) for step in steps]),
        bare_ms=Spread.of([1e3 * taken for taken in bare]),
        host=1 - forward / total,
        outside=1 - covered((step.began, step.forward) for step in steps) / whole,
        capturing_ms=1e3 * captured,
        useful_columns=sum(w.columns for w in windows) / sum(len(part.tokens) for part in packs),
        useful_pairs=sum(w.pairs for w in windows) / sum(pairs(g) for part in packs for g in part.every),
        floor_ms=1e3 * statistics.median(floors),
        floor_share=statistics.median(floor / taken for floor, taken in zip(floors, bare, strict=True)),
        binding=statistics.mode(bindings),
        flops=rates.flops,
        bandwidth=rates.bandwidth,
    )


def _bare(lanes: list[TimedDecoder]) -> tuple[list[float], list[Window]]:
    """Seconds and shapes of some forwards replayed alone, as many at once as lanes compute side by side."""
    model, bare, shapes = lanes[0].model, [], []
    most = max(len(lane.steps) for lane in lanes)
    with made_current(model.device), workers(len(lanes)) as (pool, together):
        for way in np.linspace(0, 1, min(REPLAYED, most)).tolist():
            chosen = [(lane, int(way * (len(lane.steps) - 1))) for lane in lanes[:together]]
            shapes.append(merged(lane.steps[i].window for lane, i in chosen))
            bare.append(seconds(partial(_replay, chosen, pool), model.device, 3).median)
    return bare, shapes


def _replay(steps: list[tuple[TimedDecoder, int]], pool: Executor) -> None:
    """A step of each lane at once, the last of them in this thread."""
    others = [pool.submit(lane.replay, i) for lane, i in steps[:-1]]
    steps[-1][0].replay(steps[-1][1])
    for other in others:
        other.result()
