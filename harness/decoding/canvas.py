"""The canvas: the batch being decoded, right-padded, so that column = position = KV slot in every row."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from strategies import Row


@dataclass
class Canvas:
    """Host-side state of all slots, each array [slots, L].

    Host arrays, because scheduling reads them at every step; the device sees the packed columns of a
    step and returns what it measured of its predictions, one copy each way. A region's width of slack
    follows the longest row, so that a region may overhang; nothing there is ever read.
    """

    tokens: np.ndarray  # int64
    masked: np.ndarray  # bool, still to be decoded
    references: np.ndarray  # int64, another decode's tokens (oracle)

    @classmethod
    def empty(cls, slots: int, length: int, slack: int) -> Canvas:
        shape = (slots, length + slack)
        return cls(
            tokens=np.zeros(shape, np.int64),
            masked=np.zeros(shape, bool),
            references=np.zeros(shape, np.int64),
        )

    def admit(
        self, slot: int, prompt: list[int], gen_length: int, mask_id: int, reference: list[int]
    ) -> None:
        """Lay a prompt and its masks into a free slot."""
        start, end = len(prompt), len(prompt) + gen_length
        self.tokens[slot, :start] = prompt
        self.tokens[slot, start:end] = mask_id
        self.masked[slot] = False
        self.masked[slot, start:end] = True
        self.references[slot, start : start + len(reference)] = reference

    def commit(self, slots: np.ndarray, columns: np.ndarray, tokens: np.ndarray) -> None:
        """Write committed tokens, each array [n] int64."""
        self.tokens[slots, columns] = tokens
        self.masked[slots, columns] = False


@dataclass
class Trace:
    """What a row's forwards did, in order.

    commits: of each forward the columns it committed and their tokens, [n] int64 each, and their
    probabilities, [n] float64.
    """

    commits: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    refresh_steps: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def events(self, start: int) -> list[list[tuple[int, int]]]:
        """Of each forward the (position, token) pairs it committed, positions counted from `start`."""
        return [
            list(zip((columns - start).tolist(), tokens.tolist(), strict=True))
            for columns, tokens, _ in self.commits
        ]

    def by_column(self, start: int, end: int) -> tuple[list[int], list[float]]:
        """Of columns [start, end): the forward, from 1, that committed each, and its probability then."""
        columns = np.concatenate([part for part, _, _ in self.commits])
        confidence = np.concatenate([part for _, _, part in self.commits])
        forward = np.repeat(np.arange(1, len(self.commits) + 1), [len(part[0]) for part in self.commits])
        kept = columns < end
        commit_step, probability = np.zeros(end - start, np.int64), np.zeros(end - start)
        commit_step[columns[kept] - start] = forward[kept]
        probability[columns[kept] - start] = confidence[kept]
        return commit_step.tolist(), probability.tolist()


@dataclass
class Live:
    """A row being decoded and its trace."""

    row: Row
    trace: Trace = field(default_factory=Trace)
