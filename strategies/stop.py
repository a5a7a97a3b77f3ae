"""The stop rules: where a sample ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strategies.proposal import Proposal
from strategies.values import choice


@dataclass(frozen=True)
class FullLength:
    """Decode the whole generation length, end-of-text padding included (the LLaDA references)."""

    @property
    def reads_tail(self) -> bool:
        return False

    def cut(self, p: Proposal, transfer: np.ndarray, vouched: np.ndarray | None) -> np.ndarray | None:
        return None


@dataclass(frozen=True)
class EndOfTextPrediction:
    """Learn2PD's EoTP (arXiv 2509.25188): cut the sequence behind an end of text.

    trigger=predicted: as the reference decodes (golden quirks 19, 20): behind the first end of text that
    the rule itself vouches for, else behind the most confident end of text predicted at any masked
    position of the remaining sequence; the kept position stays masked. trigger=committed: only behind
    an end of text that was committed.
    """

    trigger: str = choice("predicted", "committed")

    @property
    def reads_tail(self) -> bool:
        return self.trigger == "predicted"

    def cut(self, p: Proposal, transfer: np.ndarray, vouched: np.ndarray | None) -> np.ndarray | None:
        ends = (p.tokens == p.vocabulary.terminators[0]) & p.masked
        if self.trigger == "committed":
            return keep_through(ends & transfer, p.gen_length)
        surest = np.where(ends, p.confidence, -1.0).argmax(1) + 1
        keep = np.where(ends.any(1), surest, p.gen_length)
        if vouched is None:
            return keep
        sure = ends & vouched
        return np.where(sure.any(1), keep_through(sure, p.gen_length), keep)


def keep_through(ends: np.ndarray, otherwise: int) -> np.ndarray:
    """[B] int64 columns up to and including the first True of each row, `otherwise` where there is none."""
    return np.where(ends.any(1), ends.argmax(1) + 1, otherwise)
