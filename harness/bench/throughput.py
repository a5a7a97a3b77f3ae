"""Samples and tokens a second, growth with the number of problems, and the peak of memory."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.bench.clock import Spread, now
from harness.bench.naive import naive
from harness.bench.workload import Workload
from harness.decoding import decode
from harness.models.transformer import Denoiser
from strategies import Strategy

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # what clear_refs(5) of Linux takes to start VmHWM anew


Samples = list[tuple[list[int], int]]  # output tokens and forwards of each
Decoding = Callable[[], Samples]
References = Sequence[list[int]] | None  # what an oracle imitates, of each prompt


@dataclass(frozen=True)
class Throughput:
    """What decoding all prompts took, `taken` seconds a round, and what came of it."""

    taken: tuple[float, ...]
    decoded: Samples

    @property
    def seconds(self) -> Spread:
        return Spread.of(self.taken)

    @property
    def samples_per_s(self) -> float:
        return len(self.decoded) / self.seconds.median

    @property
    def tokens_per_s(self) -> float:
        return sum(len(output) for output, _ in self.decoded) / self.seconds.median

    @property
    def nfe(self) -> float:
        """Forwards a sample."""
        return sum(forwards for _, forwards in self.decoded) / len(self.decoded)

    def times(self, other: Throughput) -> Spread:
        """How many times the other's seconds this took, round by round."""
        return Spread.of([own / others for own, others in zip(self.taken, other.taken, strict=True)])


def decoding(
    workload: Workload,
    prompts: Sequence[list[int]],
    strategy: Strategy,
    references: References,
    batch_size: int,
) -> Decoding:
    """Decodes the prompts when called; one batch of them is decoded here, to warm up."""

    def run(count: int) -> Samples:
        found = decode(
            workload.model,
            prompts[:count],
            strategy,
            gen_length=workload.gen_length,
            block_length=workload.block_length,
            batch_size=batch_size,
            references=references[:count] if references else None,
        )
        return [(generation.output_ids, generation.nfe) for generation in found]

    run(min(batch_size, len(prompts)))
    return lambda: run(len(prompts))


def naive_decoding(
    workload: Workload, prompts: Sequence[list[int]], strategy: Strategy, references: References
) -> Decoding:
    """The same by the one-sample loop."""
    workload.model.join()  # as a decode of ours leaves the weights, whichever comes first
    answers: Sequence[list[int] | None] = references if references is not None else [None] * len(prompts)

    def run(count: int) -> Samples:
        return [
            naive(workload.model, prompt, strategy, workload.gen_length, workload.block_length, answer)
            for prompt, answer in zip(prompts[:count], answers[:count], strict=True)
        ]

    run(1)
    return lambda: run(len(prompts))


def in_turn(decodings: Sequence[Decoding], device: torch.device, rounds: int) -> list[Throughput]:
    """Each decoding once a round, there and back again: a machine's drifting speed favours none of them."""
    taken: list[list[float]] = [[] for _ in decodings]
    decoded: list[Samples] = [[] for _ in decodings]
    places = list(range(len(decodings)))
    for number in range(rounds):
        for place in places if number % 2 == 0 else reversed(places):
            began = now(device)
            decoded[place] = decodings[place]()
            taken[place].append(now(device) - began)
    return [Throughput(tuple(each), found) for each, found in zip(taken, decoded, strict=True)]


@dataclass(frozen=True)
class Memory:
    """Bytes: the peak while decoding, above what the process held before it loaded the model on a CPU;
    and what a decode cannot do without: weights, KV store and the largest read logits."""

    peak: int
    weights: int
    kv: int
    logits: int

    @property
    def ratio(self) -> float:
        return self.peak / (self.weights + self.kv + self.logits)


class Gauge:
    """The peak of memory since it was made or restarted: the allocator's own on a GPU; on a CPU the resident
    set's, above what the process held when the gauge was made."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before = 0 if device.type == "cuda" else _status("VmRSS")
        self.restart()

    def restart(self) -> None:
        """Forget the peak so far: of loading a model, or of measuring the machine."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif CLEAR.exists():
            CLEAR.write_text(RESET_PEAK)

    def peak(self) -> int:
        """Bytes."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return _status("VmHWM") - self.before


def _status(key: str) -> int:
    """Bytes of a line of /proc/self/status; where there is none, the process' peak."""
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def needed(model: Denoiser, slots: int, length: int, read: int, stored: bool) -> tuple[int, int, int]:
    """Bytes of the weights, of the KV store and of `read` positions' logits."""
    config = model.config
    size = model.embedding.weight.element_size()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    kv = 2 * config.n_layers * slots * length * config.n_kv_heads * config.head_dim * size if stored else 0
    return weights, kv, read * config.vocab_rows * max(4, size)
