"""Ending a run at a safe place when the user or a job scheduler asks for it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stopped(Exception):
    """The user or the job scheduler asked the run to end (SIGTERM, SIGINT)."""


class StopRequest:
    """Notes SIGTERM and SIGINT; `check` raises Stopped at the next safe place. A second signal kills."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def check(self) -> None:
        if self.signal is not None:
            raise Stopped(signal.Signals(self.signal).name)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL)

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Catch the signals while the block runs (in the main thread, the only one that may)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, self._note) for number in numbers]
        try:
            yield self
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
