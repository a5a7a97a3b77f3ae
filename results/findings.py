"""What a run's samples say, computed once for every output, and how frames become JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.comparisons import against_baseline
from results.metrics import mean_over_tasks, summarise
from results.runs import Run


@dataclass(frozen=True)
class Findings:
    """A run and the frames computed from it, as their modules define them."""

    run: Run
    samples: pd.DataFrame
    summary: pd.DataFrame
    means: pd.DataFrame
    comparisons: pd.DataFrame


def find(run: Run) -> Findings:
    """Summarise a run and compare its strategies with their baseline."""
    samples = run.frame
    summary = summarise(samples)
    return Findings(run, samples, summary, mean_over_tasks(summary), against_baseline(samples))


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame's rows as JSON objects, NaN as null."""
    return [plain(row) for row in frame.to_dict("records")]


def plain(value: Any) -> Any:
    """A value as JSON has it: NaN and infinity become null, numpy scalars plain numbers."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
