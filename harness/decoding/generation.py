"""What one decoded sample leaves behind: tokens, the lossless trace and the cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.decoding.canvas import Live


@dataclass(frozen=True)
class Generation:
    """One finished sample.

    output_ids: the generation region as decoded, shorter where a stop rule cut it. commit_step,
    confidence: per output token, the forward (counted from 1) that committed it and its probability
    then. events: per forward the (position, token) pairs it committed, positions counted from the
    first generated token, those later cut off included. nfe: forwards the sample took part in, of
    which refresh_nfe rebuilt a cache; query_tokens: columns they recomputed. latency_s: the sample's
    share of the device-synchronised seconds of the decode, callbacks not included.
    """

    prompt_ids: list[int]
    output_ids: list[int]
    commit_step: list[int]
    confidence: list[float]
    nfe: int
    refresh_nfe: int
    query_tokens: int
    refresh_steps: list[int]
    events: list[list[tuple[int, int]]]
    latency_s: float

    @classmethod
    def of(cls, entry: Live, canvas: np.ndarray) -> Generation:
        """What a finished row leaves behind, given the canvas' tokens [slots, L]."""
        row, trace = entry.row, entry.trace
        tokens = canvas[row.slot, : row.end].tolist()
        commit_step, confidence = trace.by_column(row.start, row.end)
        return cls(
            prompt_ids=tokens[: row.start],
            output_ids=tokens[row.start :],
            commit_step=commit_step,
            confidence=confidence,
            nfe=row.nfe,
            refresh_nfe=row.refreshes,
            query_tokens=row.queries,
            refresh_steps=trace.refresh_steps,
            events=trace.events(row.start),
            latency_s=trace.seconds,
        )
