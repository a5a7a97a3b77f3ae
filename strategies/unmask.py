"""The unmasking rules: which masked positions of the active block a forward commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from strategies.base import UnmaskRule
from strategies.errors import SpecError
from strategies.filter import FilterNet, load_filter
from strategies.predictions import Vocabulary
from strategies.proposal import Proposal
from strategies.values import Steps, choice, number


def descending(score: np.ndarray) -> np.ndarray:
    """[B, W] int64 positions of each row by descending score, of equals the first one first."""
    return (-score).argsort(1, kind="stable")


def rank(score: np.ndarray) -> np.ndarray:
    """[B, W] int64 place of each position in its row by descending score, from 0."""
    return descending(score).argsort(1)


def block_steps(p: Proposal, steps: int) -> np.ndarray:
    """[B, 1] int64 forwards the schedule gives the active block, in proportion to its nominal width.

    Equal to steps / blocks where that divides; otherwise the blocks' shares still sum to `steps`.
    """
    before = steps * p.offset // p.gen_length
    through = steps * (p.offset + p.width) // p.gen_length
    return np.maximum(through - before, 1)


def quota(p: Proposal, steps: int) -> np.ndarray:
    """[B, 1] LLaDA's uniform schedule: the block's masks over its forwards, the remainder in the first ones.

    Counted from the masks the block held when entered, so that a cut or a learned rule, which take
    masks away in between, do not change it (golden quirk 18).
    """
    forwards = block_steps(p, steps)
    return p.entered // forwards + (p.step < p.entered % forwards)


def dream_quota(p: Proposal, forwards: np.ndarray) -> np.ndarray:
    """[B, 1] Dream's time grid t = linspace(1, 1e-3): int(masks * (1 - s / t)), everything at the last step.

    In torch's float32 like the reference, whose rounding on a CPU decides the truncation (golden quirk 26).
    """
    counts = p.eligible.sum(1, keepdims=True)
    for row, (total, step) in enumerate(zip(forwards[:, 0].tolist(), p.step[:, 0].tolist(), strict=True)):
        if step < total - 1:
            grid = torch.linspace(1, 1e-3, total + 1)
            counts[row] = int(float(counts[row, 0]) * (1 - grid[step + 1] / grid[step]))
    return counts


@dataclass(frozen=True)
class FixedSteps(UnmaskRule):
    """LLaDA's and Dream's decoding: a set number of positions a forward, the best by `remasking` first.

    steps: forwards for the whole region (an int, or a fraction of the generation length such as 1/4).
    schedule: uniform (a block's masks spread evenly, remainder first), dream (Dream's time grid over the
    whole region), dream-block (the same grid in each block, as Fast-dLLM's Dream port runs it).
    eos: free, banned (LLaDA's logits_eos_inf: end of text is never predicted), last (LLaDA's
    confidence_eos_eot_inf: a predicted terminator has confidence 0).
    """

    steps: Steps | None = None
    remasking: str = choice("low-confidence", "random", "margin", "entropy")
    schedule: str = choice("uniform", "dream", "dream-block")
    eos: str = choice("free", "banned", "last")

    @property
    def whole_region(self) -> bool:
        return self.schedule == "dream"

    @property
    def patient(self) -> bool:
        return self.schedule != "uniform"

    @property
    def random(self) -> bool:
        return self.remasking == "random"

    def check(self, gen_length: int, block_length: int) -> None:
        if self.schedule == "dream" and self.steps and self.steps.count(gen_length) > gen_length:
            return  # Dream's grid then has forwards that commit nothing (golden quirk 26)
        check_steps(self.steps, gen_length, 1 if self.whole_region else -(-gen_length // block_length))

    def banned(self, vocabulary: Vocabulary) -> tuple[int, ...]:
        return vocabulary.terminators[:1] if self.eos == "banned" else ()

    def muted(self, vocabulary: Vocabulary) -> tuple[int, ...]:
        return vocabulary.terminators if self.eos == "last" else ()

    def score(self, p: Proposal) -> np.ndarray:
        if self.remasking == "random":
            return p.uniform
        if self.remasking == "margin":
            return p.margin
        return -p.entropy if self.remasking == "entropy" else p.confidence

    def admit(self, p: Proposal, score: np.ndarray) -> np.ndarray:
        steps = self.steps.count(p.gen_length) if self.steps else p.gen_length
        if self.schedule == "uniform":
            return rank(score) < quota(p, steps)
        return rank(score) < dream_quota(p, block_steps(p, steps))


def check_steps(steps: Steps | None, gen_length: int, blocks: int) -> None:
    count = steps.count(gen_length) if steps else gen_length
    if not blocks <= count <= gen_length:
        raise SpecError(
            f"steps={steps} gives {count} forwards, but {gen_length} tokens in {blocks} blocks need between"
            f" {blocks} (one a block) and {gen_length} (one a token)"
        )


@dataclass(frozen=True)
class Confidence(UnmaskRule):
    """Fast-dLLM (arXiv 2505.22618): commit every position at least `threshold` confident."""

    threshold: float = number(0.9, above=0.0, most=1.0)

    def admit(self, p: Proposal, score: np.ndarray) -> np.ndarray:
        return score >= self.threshold


@dataclass(frozen=True)
class Factor(UnmaskRule):
    """Fast-dLLM's factor rule: the longest run of the most confident, the n-th of c >= 1 - factor / (n + 1).

    The first is free. variant=fast-dllm: the upstream code's off-by-one, which takes the last
    candidate even where it fails (REFERENCE.md 1.5).
    """

    factor: float = number(1.0, above=0.0)
    variant: str = choice("published", "fast-dllm")

    def admit(self, p: Proposal, score: np.ndarray) -> np.ndarray:
        order = descending(score)
        n = np.arange(1, score.shape[1] + 1)
        fits = np.take_along_axis(score, order, 1) >= 1 - self.factor / (n + 1)
        fits[:, 0] = True
        run = np.logical_and.accumulate(fits, 1)
        if self.variant == "fast-dllm":
            last = n == p.eligible.sum(1, keepdims=True)
            run = run | (last & np.roll(run, 1, 1))
        admitted = np.zeros_like(run)
        np.put_along_axis(admitted, order, run, 1)
        return admitted


@dataclass(frozen=True)
class Entropy(UnmaskRule):
    """dParallel (arXiv 2509.26488): commit every position of predictive entropy at most `threshold` nats."""

    threshold: float = number(0.5, least=0.0)

    def score(self, p: Proposal) -> np.ndarray:
        return -p.entropy

    def admit(self, p: Proposal, score: np.ndarray) -> np.ndarray:
        return score >= -self.threshold


@dataclass(frozen=True)
class LearnedFilter(UnmaskRule):
    """Learn2PD (arXiv 2509.25188): commit what a small filter accepts, in addition to the uniform schedule.

    The filter reads the confidences of all positions of the block, committed ones included, and a
    masked position is accepted where its sigmoid exceeds `threshold` (golden quirk 17). filter: path
    of a safetensors file; the model's own filter.safetensors by default.
    """

    threshold: float = number(0.96, least=0.0, below=1.0)
    steps: Steps | None = None
    filter: str | None = None

    reads_block: ClassVar[bool] = True

    def check(self, gen_length: int, block_length: int) -> None:
        if self.filter is None:
            raise SpecError(
                "learn2pd needs a filter, and the model has no filter.safetensors; give filter=PATH"
            )
        check_steps(self.steps, gen_length, -(-gen_length // block_length))
        self.network().check_block(block_length, self.filter)

    def network(self) -> FilterNet:
        assert self.filter is not None
        return load_filter(self.filter)

    def vouched(self, p: Proposal) -> np.ndarray:
        network = self.network()
        block = min(network.width, p.eligible.shape[1])
        inside = np.where(np.arange(block) < p.width, p.confidence[:, :block], 0.0)
        accept = np.zeros_like(p.eligible)
        sigmoid = network(torch.from_numpy(inside).float()).sigmoid()
        accept[:, :block] = (sigmoid > self.threshold).numpy()
        return accept & p.eligible

    def admit(self, p: Proposal, score: np.ndarray) -> np.ndarray:
        steps = self.steps.count(p.gen_length) if self.steps else p.gen_length
        accepted = p.vouched
        assert accepted is not None
        return accepted | (rank(score) < quota(p, steps))


@dataclass(frozen=True)
class Oracle(UnmaskRule):
    """Learn2PD's extremely greedy parallel: commit every prediction that equals the reference decode's token.

    The upper bound of any rule: no forward is spent on a token the model already has right. Where no
    prediction is right, the reference's token is committed at the most confident position, so that the
    result is always the reference decode itself. reference: the spec of that decode.
    """

    reference: str = "fixed"

    needs_reference: ClassVar[bool] = True

    def admit(self, p: Proposal, score: np.ndarray) -> np.ndarray:
        return p.tokens == p.best
