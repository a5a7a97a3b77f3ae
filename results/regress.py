"""The regression gate's verdict: a fixed small set's forwards and answers against a recorded baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from results import statistics
from results.errors import ResultsError
from results.records import SampleRecord

VERSION = 1
COUNTS = ("nfe", "refresh_nfe", "query_tokens")
# On another platform rounding decides near-ties otherwise, so means may move by this share of themselves.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Movement:
    """One figure of a strategy x task that is not what the baseline says."""

    strategy: str
    task: str
    figure: str
    before: str
    after: str
    regression: bool
    why: str


def document(
    records: Sequence[SampleRecord],
    settings: Mapping[str, Any],
    platform: Mapping[str, Any],
    weights: str = "",
) -> dict[str, Any]:
    """The baseline that the records make: counts and verdicts of every problem, a cell a strategy x task.

    Args:
        settings: what to run again (strategies, tasks, limit and the like).
        platform: what exact counts depend on; the gate is exact only where it is the same.
        weights: a hash of the model's files.

    Raises:
        ResultsError: a sample failed or lacks a count, so that nothing could be held against it.
    """
    cells: dict[tuple[str, str], list[SampleRecord]] = {}
    for record in records:
        if record.status != "ok" or any(getattr(record, name) is None for name in COUNTS):
            raise ResultsError(
                f"{record.strategy} on {record.task} problem {record.doc_id} failed: {record.error}"
            )
        cells.setdefault((record.strategy, record.task), []).append(record)
    return {
        "version": VERSION,
        "settings": dict(settings),
        "platform": dict(platform),
        "weights": weights,
        "cells": [_cell(strategy, task, found) for (strategy, task), found in cells.items()],
    }


def _cell(strategy: str, task: str, records: list[SampleRecord]) -> dict[str, Any]:
    ordered = sorted(records, key=lambda record: record.doc_id)
    counts = {name: [int(getattr(record, name)) for record in ordered] for name in COUNTS}
    verdicts = "".join({True: "r", False: "w", None: "u"}[record.correct] for record in ordered)
    return {
        "strategy": strategy,
        "task": task,
        "doc_ids": [record.doc_id for record in ordered],
        **counts,
        "verdicts": verdicts,
    }


def read(path: Path) -> dict[str, Any]:
    """Read a baseline file.

    Raises:
        ResultsError: it is missing, no JSON, or of another version.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{path} does not exist; `regress --update` writes it") from None
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ResultsError(f"{path} is not JSON ({error}); `regress --update` rewrites it") from error
    if not isinstance(found, dict) or found.get("version") != VERSION or "cells" not in found:
        raise ResultsError(f"{path} is not a baseline of version {VERSION}; `regress --update` rewrites it")
    lacking = _lacking(found)
    if lacking:
        raise ResultsError(f"{path} is no whole baseline: it lacks {lacking}; `regress --update` rewrites it")
    return found


def _lacking(baseline: Mapping[str, Any]) -> str:
    """The first thing that a baseline needs and this one has not, empty where it is whole."""
    settings, cells = baseline.get("settings"), baseline["cells"]
    if not isinstance(settings, dict) or "platform" not in baseline:
        return "settings or platform"
    if not isinstance(cells, list) or not cells:
        return "cells"
    needed = {"strategy", "task", "doc_ids", "verdicts", *COUNTS}
    for number, cell in enumerate(cells, start=1):
        missing = sorted(needed - set(cell)) if isinstance(cell, dict) else sorted(needed)
        if missing:
            return f"{', '.join(missing)} in cell {number}"
        for name in ("doc_ids", *COUNTS):
            if not isinstance(cell[name], list) or not all(type(each) is int for each in cell[name]):
                return f"whole numbers as {name} in cell {number}"
        if not isinstance(cell["verdicts"], str) or set(cell["verdicts"]) - set("rwu"):
            return f"verdicts of the letters r, w and u in cell {number}"
        if len({len(cell[name]) for name in ("doc_ids", "verdicts", *COUNTS)}) > 1:
            return f"as many counts as problems in cell {number}"
    strategies, tasks = settings.get("strategies"), settings.get("tasks")
    if isinstance(strategies, list) and isinstance(tasks, list):
        present = [(cell["strategy"], cell["task"]) for cell in cells]
        absent = [cell for cell in product(strategies, tasks) if cell not in present]
        return f"the cell of {absent[0][0]} on {absent[0][1]}" if absent else ""
    return ""


def write(path: Path, baseline: Mapping[str, Any]) -> None:
    """Write a baseline, one cell a line, so that a change reads well in a diff."""
    head = {key: value for key, value in baseline.items() if key != "cells"}
    lines = ",\n".join("  " + json.dumps(cell) for cell in baseline["cells"])
    body = json.dumps(head, indent=1)[:-2] + f',\n "cells": [\n{lines}\n ]\n}}\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body, encoding="ascii")


def compare(baseline: Mapping[str, Any], measured: Mapping[str, Any]) -> list[Movement]:
    """What moved from the baseline to a document of the same set measured now, by strategy and task.

    Counts of forwards, refreshes and recomputed columns are held exactly, problem by problem, where both
    platforms are the same, and within `TOLERANCE` of their means elsewhere. Any such movement is a
    regression, downwards too: a rule does not get faster by itself. On the same platform a lost answer is one
    too, for decoding is deterministic there. Elsewhere accuracy is tested over each strategy's problems
    (exact McNemar, Holm-adjusted) and over all strategies (a sign test with the problem as the unit, as
    strategies fail together); a significant fall is a regression.
    """
    exact = baseline["platform"] == measured["platform"]
    before = {(cell["strategy"], cell["task"]): cell for cell in baseline["cells"]}
    after = {(cell["strategy"], cell["task"]): cell for cell in measured["cells"]}
    found = []
    old, new = (str(each.get("weights", ""))[:12] for each in (baseline, measured))
    if old != new:
        found.append(Movement("all", "all", "weights", old, new, True, "the model's files are others"))
    for key in [*before, *(key for key in after if key not in before)]:
        if key not in after or key not in before:
            gone = key in before
            words = ("there", "missing") if gone else ("missing", "there")
            found.append(Movement(*key, "cell", *words, gone, "was not run" if gone else "is new"))
        elif before[key]["doc_ids"] != after[key]["doc_ids"]:
            found.append(Movement(*key, "problems", "", "", True, "other problems than the baseline's"))
        else:
            found += _counts(key, before[key], after[key], exact)
    return found + _verdicts(before, after, exact)


def _counts(
    key: tuple[str, str], before: Mapping[str, Any], after: Mapping[str, Any], exact: bool
) -> list[Movement]:
    found = []
    for name in COUNTS:
        old, new = np.asarray(before[name], dtype=float), np.asarray(after[name], dtype=float)
        if (old == new).all():
            continue
        means = (f"{old.mean():.2f}", f"{new.mean():.2f}")
        if exact:
            why = f"{int((old != new).sum())} of {old.size} problems differ"
            found.append(Movement(*key, name, *means, True, why))
            continue
        change = abs(new.mean() - old.mean()) / max(old.mean(), 1.0)
        within = change <= TOLERANCE
        why = f"{100 * change:.1f} % on another platform, {100 * TOLERANCE:.0f} % allowed"
        found.append(Movement(*key, name, *means, not within, why))
    return found


def _verdicts(
    before: Mapping[tuple[str, str], Any], after: Mapping[tuple[str, str], Any], exact: bool
) -> list[Movement]:
    """Accuracy by strategy, over the problems of all its tasks, and over all strategies."""
    tests: dict[str, tuple[list[bool], list[bool]]] = {}
    problems: dict[tuple[str, int], int] = {}  # how many more strategies answer it than before
    for key, cell in before.items():
        if key not in after or cell["doc_ids"] != after[key]["doc_ids"]:
            continue
        old, new = tests.setdefault(key[0], ([], []))
        for number, a, b in zip(cell["doc_ids"], cell["verdicts"], after[key]["verdicts"], strict=True):
            if "u" not in (a, b):
                old.append(a == "r")
                new.append(b == "r")
                problem = (key[1], number)
                problems[problem] = problems.get(problem, 0) + (b == "r") - (a == "r")
    pairs = {strategy: statistics.paired_accuracy(old, new) for strategy, (old, new) in tests.items()}
    adjusted = statistics.holm([pair.p for pair in pairs.values()])
    found = []
    for (strategy, pair), p in zip(pairs.items(), adjusted, strict=True):
        if not pair.gained and not pair.lost:
            continue
        old, new = tests[strategy]
        figures = (f"{100 * np.mean(old):.1f} %", f"{100 * np.mean(new):.1f} %")
        why = f"{pair.gained} gained, {pair.lost} lost, p {p:.3f}"
        worse = pair.lost > 0 if exact else p < statistics.ALPHA and pair.lost > pair.gained
        found.append(Movement(strategy, "all", "accuracy", *figures, worse, why))
    gained, lost = sum(each > 0 for each in problems.values()), sum(each < 0 for each in problems.values())
    p = statistics.mcnemar(gained, lost)
    if p < statistics.ALPHA and lost > gained:
        why = f"of {len(problems)} problems {gained} gained, {lost} lost, p {p:.3f}"
        found.append(Movement("all", "all", "accuracy", "", "", True, why))
    return found


def table_of(movements: Sequence[Movement]) -> Table:
    """What moved, for a terminal."""
    table = Table(title="what moved from the baseline", title_justify="left", title_style="bold")
    for title in ("strategy", "suite", "figure", "baseline", "now", "why", ""):
        table.add_column(title, justify="right" if title in ("baseline", "now") else "left")
    for each in movements:
        said = Text("regression", style="red") if each.regression else Text("allowed", style="dim")
        table.add_row(
            Text(each.strategy), Text(each.task), each.figure, each.before, each.after, each.why, said
        )
    return table
