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


def clock() -> str:
    """Which of CLOCKS was chosen."""
    return _chosen[0]


def now(device: torch.device | None = None) -> float:
    """Seconds on a monotonic clock, once everything queued on `device` is done where one is given."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return CLOCKS[_chosen[0]]()


class Span:
    """Time between two points of the device's queue, taken without holding the queue up at either."""

    def __init__(self, device: torch.device) -> None:
        self._events = [torch.cuda.Event(enable_timing=True) for _ in "ab"] if device.type == "cuda" else []
        self.began = self._ended = 0.0

    def begin(self) -> None:
        """The first point; `began` is the clock's reading, the host's on a GPU."""
        self.began = CLOCKS[_chosen[0]]()
        if self._events:
            self._events[0].record()

    def end(self) -> None:
        """The second point."""
        if self._events:
            self._events[1].record()
        self._ended = CLOCKS[_chosen[0]]()

    @property
    def seconds(self) -> float:
        """Between the points, once the device has come by the second."""
        if self._events:
            self._events[1].synchronize()
            return self._events[0].elapsed_time(self._events[1]) / 1e3
        return self._ended - self.began


def seconds(action: Callable[[], object], device: torch.device, repeats: int, least: float = 0.0) -> Spread:
    """Seconds of one `action`: a call to warm up, then at least `repeats` calls and `least` seconds."""
    action()
    taken: list[float] = []
    while len(taken) < repeats or sum(taken) < least:
        began = now(device)
        action()
        taken.append(now(device) - began)
    return Spread.of(taken)
