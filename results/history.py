"""The history of the regression set: one row a commit x strategy x suite, appended as commits come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results.errors import ResultsError

COUNTS = ("nfe", "refresh_nfe", "query_tokens")
COLUMNS = ["commit", "date", "strategy", "task", "n", "accuracy", *COUNTS, "platform"]


def rows_of(measured: Mapping[str, Any], commit: str, date: str) -> pd.DataFrame:
    """A document of `results.regress` as history rows: means over its problems."""
    platform = " ".join(str(value) for value in measured["platform"].values())
    rows = []
    for cell in measured["cells"]:
        judged = [verdict == "r" for verdict in cell["verdicts"] if verdict != "u"]
        means = {name: float(np.mean(cell[name])) for name in COUNTS}
        accuracy = float(np.mean(judged)) if judged else float("nan")
        head = {"commit": commit, "date": date, "strategy": cell["strategy"], "task": cell["task"]}
        rows.append({**head, "n": len(cell["doc_ids"]), "accuracy": accuracy, **means, "platform": platform})
    return pd.DataFrame(rows, columns=COLUMNS)


def read(path: Path) -> pd.DataFrame:
    """A history file, empty where there is none yet.

    Raises:
        ResultsError: the file is no CSV or lacks a column.
    """
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    try:
        found = pd.read_csv(path, dtype={"commit": str, "date": str})
    except ValueError as error:
        raise ResultsError(f"{path} is not a history: {' '.join(str(error).split())}") from error
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        raise ResultsError(f"{path} is not a history: it lacks {', '.join(missing)}")
    return found[COLUMNS]


def append(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Add a commit's rows, in place of those that the file holds of the same commit; returns the whole."""
    old = read(path)
    kept = old[~old["commit"].isin(rows["commit"])]
    whole = pd.concat([kept, rows], ignore_index=True) if len(kept) else rows.reset_index(drop=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.to_csv(path, index=False, lineterminator="\n", float_format="%.6g")
    return whole
