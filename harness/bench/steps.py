"""Where a decode step's time goes: the forward, the selection, the bookkeeping, and the bare forward."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.bench.clock import Span, Spread, now, seconds
from harness.bench.roofline import Roofline, Window
from harness.bench.workload import Workload
from harness.decoding.loop import Decoder, Region, drive
from harness.models.attention import Group, Ragged
from harness.models.packing import Packed, Segment
from strategies import Proposal, Row, Strategy

REPLAYED = 12  # forwards replayed on their own, spread over the decode


@dataclass(frozen=True)
class Step:
    """Seconds of one step, and what it computed: its segments, the positions read of each [B], its packs."""

    total: float
    forward: float
    selection: float
    segments: tuple[Segment, ...]
    counts: np.ndarray
    packs: list[Packed]


class TimedDecoder(Decoder):
    """A decoder that notes what each step cost. The device is not held up between forward and selection.

    What takes more than a note is worked out afterwards, so that it does not count as the decode's.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.steps: list[Step] = []
        self._segments: list[Segment] = []

    def step(self) -> None:
        device = self.model.device
        self._segments.clear()
        captured = self.engine.capturing
        began = now(device)
        super().step()
        captured = self.engine.capturing - captured
        total = now(device) - began - captured
        forward = self._span.seconds - captured
        self.steps.append(
            Step(
                total,
                forward,
                self._chosen - self._span.began - captured - forward,
                tuple(self._segments),
                self._counts,
                self._packs,
            )
        )

    def _segment(self, row: Row) -> Segment:
        self._segments.append(super()._segment(row))
        return self._segments[-1]

    def _forward(self, packs: list[Packed]) -> Tensor:
        self._packs = packs
        self._span = Span(self.model.device)
        self._span.begin()
        logits = super()._forward(packs)
        self._span.end()
        return logits

    def replay(self, i: int) -> Tensor:
        """The forward of step `i` alone, on what the store holds now."""
        return super()._forward(self.steps[i].packs)

    def _choose(
        self, rows: list[Row], logits: Tensor, region: Region, references: list[Tensor]
    ) -> tuple[Proposal, np.ndarray, np.ndarray | None]:
        chosen = super()._choose(rows, logits, region, references)
        self._chosen = now(self.model.device)
        self._counts = region.counts
        return chosen


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


def pairs(group: Group | Ragged) -> int:
    """Query-key pairs that a group computes, padding to one width included, a kernel's own tiles not."""
    if isinstance(group, Ragged):
        return group.pairs
    places = group.queries
    queries = places.stop - places.start if isinstance(places, slice) else places.numel()
    return queries * group.longest


@dataclass(frozen=True)
class StepCost:
    """A decode's steps summed up.

    Milliseconds a step, medians over the steps: total, forward, selection, bookkeeping; bare: a forward
    of the same windows alone. outside: seconds not in the forward over all seconds of the decode, admission
    and release included. capturing_ms: once a decode, on preparing forwards to be replayed; in none of the
    others. useful_columns, useful_pairs: what the rows needed over what was computed.
    floor_share: the machine's floor over the bare forward. binding: what that floor is bound by.
    """

    steps: int
    rows: float
    columns: float
    total_ms: Spread
    forward_ms: Spread
    selection_ms: Spread
    bookkeeping_ms: Spread
    bare_ms: Spread
    outside: float
    capturing_ms: float
    useful_columns: float
    useful_pairs: float
    floor_ms: float
    floor_share: float
    binding: str


@torch.inference_mode()
def step_cost(workload: Workload, strategy: Strategy, batch_size: int, roofline: Roofline) -> StepCost:
    """Decode the workload's first prompts, again under a timed decoder, then replay some forwards alone."""
    model, device = workload.model, workload.model.device
    prompts = workload.prompts[: max(batch_size, 2)]
    references = workload.references(prompts, strategy)
    drive(workload.decoder(Decoder, prompts, strategy, batch_size), prompts, references=references)
    decoder = workload.decoder(TimedDecoder, prompts, strategy, batch_size)
    began = now(device)
    drive(decoder, prompts, references=references)
    captured = decoder.engine.capturing  # the replays below may capture more
    whole = now(device) - began - captured
    steps = decoder.steps
    windows = [window(step.segments, step.counts, decoder.engine.kv is not None) for step in steps]
    packs = [part for step in steps for part in step.packs]
    chosen = np.linspace(0, len(steps) - 1, min(REPLAYED, len(steps))).astype(int).tolist()
    bare, shares, floors, bindings = [], [], [], []
    with decoder.engine.running():
        for i in chosen:
            taken = seconds(partial(decoder.replay, i), device, 3).median
            size = model.embedding.weight.element_size()
            floor, binding = roofline.floor(model.config, windows[i], size)
            bare.append(taken * 1e3)
            floors.append(floor * 1e3)
            shares.append(floor / taken)
            bindings.append(binding)
    return StepCost(
        steps=len(steps),
        rows=statistics.mean(len(step.segments) for step in steps),
        columns=statistics.mean(w.columns for w in windows),
        total_ms=Spread.of([1e3 * step.total for step in steps]),
        forward_ms=Spread.of([1e3 * step.forward for step in steps]),
        selection_ms=Spread.of([1e3 * step.selection for step in steps]),
        bookkeeping_ms=Spread.of([1e3 * (step.total - step.forward - step.selection) for step in steps]),
        bare_ms=Spread.of(bare),
        outside=1 - sum(step.forward for step in steps) / whole,
        capturing_ms=1e3 * captured,
        useful_columns=sum(w.columns for w in windows) / sum(len(part.tokens) for part in packs),
        useful_pairs=sum(w.pairs for w in windows) / sum(pairs(g) for part in packs for g in part.every),
        floor_ms=statistics.median(floors),
        floor_share=statistics.median(shares),
        binding=statistics.mode(bindings),
    )
