"""The canvas: the batch being decoded, right-padded, so that column = position = KV slot in every row."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from strategies import Row


@dataclass
class Canvas:
    """Host-side state of all slots, each array [slots, L].

    Host arrays, because scheduling reads them at every step; the device sees the packed columns of a
    step and returns what it commits, one copy each way. A region's width of slack follows the longest
    row, so that a region may overhang; nothing there is ever read.
    """

    tokens: np.ndarray  # int64
    masked: np.ndarray  # bool, still to be decoded
    commit_step: np.ndarray  # int64, the row's NFE at commit; 0 in the prompt
    confidence: np.ndarray  # float64, the token's probability at commit
    references: np.ndarray  # int64, another decode's tokens (oracle)

    @classmethod
    def empty(cls, slots: int, length: int, slack: int) -> Canvas:
        shape = (slots, length + slack)
        return cls(
            tokens=np.zeros(shape, np.int64),
            masked=np.zeros(shape, bool),
            commit_step=np.zeros(shape, np.int64),
            confidence=np.zeros(shape),
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
        self.commit_step[slot] = 0
        self.confidence[slot] = 0.0
        self.references[slot, start : start + len(reference)] = reference

    def commit(
        self, slots: np.ndarray, columns: np.ndarray, tokens: np.ndarray, nfe: np.ndarray, p: np.ndarray
    ) -> None:
        """Write committed tokens, each array [n]."""
        self.tokens[slots, columns] = tokens
        self.masked[slots, columns] = False
        self.commit_step[slots, columns] = nfe
        self.confidence[slots, columns] = p


@dataclass
class Trace:
    """What a row's forwards did, in order."""

    events: list[list[tuple[int, int]]] = field(default_factory=list)
    refresh_steps: list[int] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Live:
    """A row being decoded and its trace."""

    row: Row
    trace: Trace = field(default_factory=Trace)
