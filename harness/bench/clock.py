"""Device-synchronised seconds, and the median and spread of repeated measurements."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of repeated measurements, in one unit."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def to_json(self) -> dict[str, float]:
        return {"median": self.median, "low": self.low, "high": self.high}


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
_chosen = ["wall"]


def choose_clock(name: str) -> None:
    """Which of CLOCKS `now` reads from here on: "cpu", this process' own time, for a shared machine."""
    _chosen[0] = name


def now(device: torch.device) -> float:
    """Seconds on a monotonic clock once everything queued on `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return CLOCKS[_chosen[0]]()


def seconds(action: Callable[[], object], device: torch.device, repeats: int, least: float = 0.0) -> Spread:
    """Seconds of one `action`: a call to warm up, then at least `repeats` calls and `least` seconds."""
    action()
    taken: list[float] = []
    while len(taken) < repeats or sum(taken) < least:
        began = now(device)
        action()
        taken.append(now(device) - began)
    return Spread.of(taken)
