"""On a CPU a small model's batch is decoded in lanes: rows of their own each, forwards side by side.

Operations on a few hundred columns gain little from a second thread, whole forwards gain more; and while one
lane's predictions are weighed, the others compute (PERFORMANCE.md has the figures). Large models are bound by
their weights, which every lane would read again: they decode in one, and so does whatever runs on a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from threading import Barrier
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.models.packing import Packed
from harness.models.transformer import Denoiser

if TYPE_CHECKING:
    from harness.decoding.decoder import Decoder

ROWS = 16  # of a lane, about
LEAST = 4  # rows from which on a lane pays
OWN_BYTES = 2 << 20  # of a layer's and the head's weights, which every lane reads for itself


def lanes_of(model: Denoiser, slots: int) -> list[int]:
    """How many of a decode's `slots` rows each lane has, as dealt out in turn: one lane where several would
    not pay."""
    weights = [*model.blocks[0].parameters(), model.embedding.weight]  # the head is as large as the latter
    small = sum(weight.numel() * weight.element_size() for weight in weights) <= OWN_BYTES
    threads = torch.get_num_threads()
    if model.device.type != "cpu" or not small or threads == 1:
        return [slots]
    number = max(1, min(threads * max(1, round(slots / (threads * ROWS))), slots // LEAST))
    return [(slots + number - 1 - lane) // number for lane in range(number)]


class Lanes:
    """The lanes of one decode. The forwards of several run in threads of their own, all else in the caller's,
    one lane after the other. What a lane computes depends on its own rows, never on which lane was faster;
    which sample finishes first does.

    A context, which ends once no forward is running any more.
    """

    def __init__(self, decoders: Sequence[Decoder]) -> None:
        self.decoders = decoders
        self._underway: dict[Decoder, Future[Tensor]] = {}
        self._held = ExitStack()

    def __enter__(self) -> Lanes:
        if len(self.decoders) > 1:
            self._pool, _ = self._held.enter_context(workers(len(self.decoders)))
            self._held.callback(self._end)
        return self

    def __exit__(self, *raised: object) -> None:
        self._held.close()

    def _end(self) -> None:
        for forward in self._underway.values():
            forward.cancel()
        wait(self._underway.values())

    @property
    def live(self) -> list[Decoder]:
        """Those that have a row to decode."""
        return [decoder for decoder in self.decoders if decoder.live]

    def step(self) -> Decoder:
        """Let forwards run until one is done, and settle its lane, which is returned.

        The seconds are divided among the rows of all lanes, so that the samples' sum up to the decode's.
        """
        began, live = time.perf_counter(), self.live
        traces = [entry.trace for lane in live for entry in lane.live]
        lane = self._next(live)
        share = (time.perf_counter() - began) / len(traces)
        for trace in traces:
            trace.seconds += share
        return lane

    def _next(self, live: list[Decoder]) -> Decoder:
        underway = self._underway
        if len(live) == 1 and not underway:
            self._held.close()  # alone, it has all threads
            live[0].step()
            return live[0]
        for lane in live:
            if lane not in underway:
                underway[lane] = self._pool.submit(_compute, lane, lane.plan())
        wait(underway.values(), return_when=FIRST_COMPLETED)
        lane = next(lane for lane, forward in underway.items() if forward.done())
        lane.settle(underway.pop(lane).result())
        return lane


def _compute(lane: Decoder, packed: Packed) -> Tensor:
    with torch.inference_mode():  # a mode of the thread
        return lane.compute(packed)


@contextmanager
def workers(lanes: int) -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """Threads for the forwards of so many lanes, and how many compute at once; meanwhile operations, in any
    other thread of the process too, have as many threads as each lane's do."""
    threads = torch.get_num_threads()
    together = min(threads, lanes)
    try:
        torch.set_num_threads(threads // together)  # MKL's number is the process', not the thread's
        yield _pool(together, threads // together), together
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _pool(number: int, threads: int) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(number, "lane", initializer=torch.set_num_threads, initargs=(threads,))
    everyone = Barrier(number)  # a thread started later would take MKL's number from others
    wait([pool.submit(everyone.wait) for _ in range(number)])
    return pool
