"""What changed from one run to another on the problems both decoded, and whether it breaks a limit."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from rich.table import Table
from rich.text import Text

from results import statistics
from results.comparisons import WITHIN_NOISE, compare_pair, verdict
from results.errors import ResultsError
from results.runs import Run, setting_differences
from results.table import number, percent

# How much worse run B may be: the accuracy's fall as a share of 1, the others as a share of run A's figure.
LIMITS = ("accuracy", "nfe", "tpf", "tps")


def parse_limits(text: str) -> dict[str, float]:
    """Read `accuracy=0.03,nfe=0.05`.

    Raises:
        ResultsError: a name that is no limit, or a value that is not a number from 0 up.
    """
    limits = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, value = part.partition("=")
        if name not in LIMITS:
            raise ResultsError(f"--fail-on {name!r} is unknown; limits are {', '.join(LIMITS)}")
        if name in limits:
            raise ResultsError(f"--fail-on gives {name} twice")
        try:
            limits[name] = float(value)
        except ValueError:
            limits[name] = math.nan
        if not limits[name] >= 0:
            raise ResultsError(f"--fail-on {part!r} needs a number from 0 up, as in {name}=0.05")
        if name == "accuracy" and limits[name] >= 1:
            raise ResultsError(f"--fail-on {part!r} is never reached: accuracy is a share, 3 points are 0.03")
    return limits


def compare_runs(a: Run, b: Run, *, force: bool = False) -> pd.DataFrame:
    """A row a strategy x task that both runs hold: accuracies, paired difference and ratios of b over a.

    Raises:
        ResultsError: the runs differ in model, protocol or lengths (unless forced), or share nothing.
    """
    differences = setting_differences(a, b)
    if differences and not force:
        raise ResultsError(
            f"these runs cannot be compared: {'; '.join(differences)} (--force compares anyway)"
        )
    cells_a, cells_b = _cells(a), _cells(b)
    rows = []
    for key, cell in cells_a.items():
        if key not in cells_b:
            continue
        common = cell.index.intersection(cells_b[key].index)
        if not len(common):
            continue
        pair = cell.loc[common], cells_b[key].loc[common]
        row = {"strategy": key[0], "task": key[1], **compare_pair(*pair)}
        row["accuracy_a"], row["accuracy_b"] = (each["correct"].mean() for each in pair)
        rows.append(row)
    if not rows:
        raise ResultsError(f"{a.name} and {b.name} have no strategy, suite and problem in common")
    table = pd.DataFrame(rows)
    table["p_holm"] = statistics.holm(table["p"].tolist())
    table["verdict"] = [verdict(d, p) for d, p in zip(table["difference"], table["p_holm"], strict=True)]
    return table


def _cells(run: Run) -> dict[tuple[str, str], pd.DataFrame]:
    frame = run.frame
    done = frame[frame["status"] == "ok"]
    return {
        (str(strategy), str(task)): cell.set_index("doc_id")
        for (strategy, task), cell in done.groupby(["strategy", "task"], sort=False)
    }


def only_in(a: Run, b: Run) -> list[tuple[str, str]]:
    """The strategy x task cells that run a holds and run b does not."""
    return [key for key in _cells(a) if key not in _cells(b)]


def newly_failed(a: Run, b: Run) -> list[str]:
    """A sentence for each strategy x task of which run b failed to decode problems that run a decoded."""
    found = []
    failed = b.frame[b.frame["status"] != "ok"]
    held = _cells(a)
    for (strategy, task), cell in failed.groupby(["strategy", "task"], sort=False):
        before = held.get((str(strategy), str(task)))
        count = 0 if before is None else int(cell["doc_id"].isin(before.index).sum())
        if count:
            found.append(f"{strategy} on {task}: {count} problems failed in {b.name} that {a.name} decoded")
    return found


def broken_limits(table: pd.DataFrame, limits: Mapping[str, float]) -> list[str]:
    """One sentence for each limit that a row breaks; a figure that is missing in either run breaks none."""
    found = []
    for _, row in table.iterrows():
        where = f"{row['strategy']} on {row['task']}"
        for name, limit in limits.items():
            if name == "accuracy":
                worse = -row["difference"]
                said = f"accuracy fell by {percent(worse)} points, limit {percent(limit)}"
            else:
                ratio = row[f"{name}_ratio"]
                worse = ratio - 1 if name == "nfe" else 1 - ratio
                said = f"{name} became {percent(worse)} % worse, limit {percent(limit)} %"
            if math.isfinite(worse) and worse > limit + 1e-12:
                found.append(f"{where}: {said}")
    return found


def table_of(table: pd.DataFrame, a: str, b: str) -> Table:
    """The comparison for a terminal."""
    shown = Table(title=f"{b} against {a}, same problems", title_justify="left", title_style="bold")
    shown.add_column("strategy", overflow="fold")
    shown.add_column("suite", overflow="fold")
    for title in ("n", "accuracy %", "change, points", "NFE ratio", "TPF ratio", "tokens/s ratio"):
        shown.add_column(title, justify="right", overflow="fold")
    shown.add_column("")
    for _, row in table.iterrows():
        low, high = percent(row["difference_low"]), percent(row["difference_high"])
        colour = {"worse": "red", "better": "green"}.get(row["verdict"], "dim")
        shown.add_row(
            Text(row["strategy"]),
            Text(row["task"]),
            str(row["n"]),
            f"{percent(row['accuracy_a'])} → {percent(row['accuracy_b'])}",
            Text(f"{percent(row['difference'])} [{low}, {high}]"),
            *(Text(_ratio(row, name)) for name in ("nfe", "tpf", "tps")),
            Text(row["verdict"] or WITHIN_NOISE, style=colour),
        )
    return shown


def _ratio(row: pd.Series, name: str) -> str:
    value, low, high = (row[f"{name}_ratio{suffix}"] for suffix in ("", "_low", "_high"))
    return f"{number(value, 3)} [{number(low, 3)}, {number(high, 3)}]" if math.isfinite(value) else "–"
