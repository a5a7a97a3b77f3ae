"""What the four demo generators share: chains of small sums and the split of problems into train and test."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

TOP = 30  # running totals stay within 1..TOP, so that a small model can learn every sum
DIGIT = 9  # operands of + and - stay within 1..DIGIT
TEST_SHARE = 10  # one problem in TEST_SHARE belongs to the test split

Doc = dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """A problem before its split is known.

    key: its skeleton of operations and numbers, without names; the hash of it decides the split.
    program: the lines of the answer under one variable's name, for the suites whose answers are programs.
    """

    key: str
    doc: Doc
    program: str = ""

    @property
    def content(self) -> str:
        """What two problems of a test set may not share."""
        return self.program or self.key


@dataclass(frozen=True)
class Sum:
    """One dependent step: `left op right = result`."""

    left: int
    op: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left}{self.op}{self.right}={self.result}"


def split_of(key: str) -> str:
    """The split a problem belongs to, decided by a hash of its skeleton alone."""
    return "test" if int(fingerprint(key)[:8], 16) % TEST_SHARE == 0 else "train"


def fingerprint(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def apply(op: str, left: int, right: int) -> int:
    """`left op right` for op in + - * /."""
    return {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[op]


def step(rng: random.Random, left: int, multiply: float = 0.2) -> Sum:
    """A random step from `left` that stays within 1..TOP; `multiply` is the chance to try * 2 or * 3."""
    if rng.random() < multiply:
        factor = rng.choice((2, 3))
        if left * factor <= TOP:
            return Sum(left, "*", factor, left * factor)
    choices = [op for op, fits in (("+", left < TOP), ("-", left > 1)) if fits]
    op = rng.choice(choices)
    right = rng.randint(1, min(DIGIT, TOP - left if op == "+" else left - 1))
    return Sum(left, op, right, apply(op, left, right))


def chain(rng: random.Random, count: int, start: int | None = None, multiply: float = 0.2) -> list[Sum]:
    """`count` steps, each from the result of the one before."""
    value = rng.randint(2, 12) if start is None else start
    steps = []
    for _ in range(count):
        steps.append(step(rng, value, multiply))
        value = steps[-1].result
    return steps


def draw(make: Callable[[random.Random], Draft], rng: random.Random, split: str) -> Iterator[Draft]:
    """Endless problems of one split; those of the test split differ in content."""
    seen: set[str] = set()
    while True:
        draft = make(rng)
        if split_of(draft.key) != split or (split == "test" and draft.content in seen):
            continue
        seen.add(draft.content)
        yield draft
