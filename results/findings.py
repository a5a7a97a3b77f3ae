"""What a run's samples say, computed once for every output, and how frames become JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.comparisons import against_baseline, detectable
from results.curves import Tuned, tune
from results.errors import ResultsError
from results.merge import remarks
from results.metrics import mean_over_tasks, summarise
from results.runs import Run

HOLM = (
    "These limits are of one comparison; where several strategies meet a baseline, the table's words are"
    " Holm-adjusted, which asks for more."
)


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


def tuned(findings: Findings) -> tuple[list[Tuned], pd.DataFrame, str]:
    """`results.curves.tune` by the run's own tune fraction, with the reason where nothing could be tuned.

    A run too small to be split keeps its other figures, so the reason is returned and not raised.
    """
    fraction = findings.run.config.get("tune_fraction") or 0
    nothing: list[Tuned] = []
    if not fraction:
        return nothing, findings.summary.iloc[:0], ""
    try:
        return *tune(findings.samples, float(fraction)), ""
    except (ResultsError, TypeError, ValueError) as error:
        return nothing, findings.summary.iloc[:0], f"nothing was tuned: {error}"


def notes(findings: Findings) -> list[str]:
    """What belongs under the summary in words: what each task can detect, and what was tuned where."""
    found = detectable(findings.samples, findings.comparisons)
    picked, tested, reason = tuned(findings)
    several = findings.comparisons["strategy"].nunique() > 1
    return [
        *(each.sentence(task) for task, each in found.items()),
        *([HOLM] if several and found else []),
        *remarks(findings.run),
        *(each.sentence(tested) for each in picked),
        *([reason] if reason else []),
    ]


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
