"""The table that a run ends with on the terminal, and number formats that every table shares."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from results.comparisons import ALL_TASKS
from results.metrics import mean_over_tasks


def number(value: object, digits: int = 1) -> str:
    """A figure with fixed decimals and thousands separated; an en dash where it is missing."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits}f}"


def percent(value: object, digits: int = 1) -> str:
    """A share of 1 in percent."""
    return f"{100 * value:.{digits}f}" if isinstance(value, int | float) and math.isfinite(value) else "–"


def times(value: object) -> str:
    """A ratio, as `3.2x`."""
    return f"{number(value, 2)}x" if number(value) != "–" else "–"


WIDE = 118  # columns that the whole table needs; below it only what decides is shown
PLAIN_WIDTH = 160  # where stdout is a file or a pipe


def console() -> Console:
    """A console that does not squeeze tables into 80 columns where nobody's terminal is that narrow."""
    found = Console()
    if not found.is_terminal:
        found.width = PLAIN_WIDTH
    return found


def terminal_table(
    summary: pd.DataFrame, comparisons: pd.DataFrame, *, task: str | None = None, wide: bool = True
) -> Table:
    """The strategies of one task, or of the mean over the tasks; the best of a column is bold.

    Args:
        summary: as `results.metrics.summarise` gives it.
        comparisons: as `results.comparisons.against_baseline` gives it.
        wide: whether intervals, tokens per second and the verdict against the baseline have room.
    """
    tasks = list(dict.fromkeys(summary["task"]))
    single = task or (tasks[0] if len(tasks) == 1 else None)
    rows = summary[summary["task"] == single] if single else mean_over_tasks(summary)
    verdicts = (
        comparisons[comparisons["task"] == (single or ALL_TASKS)].set_index("strategy")["verdict"].to_dict()
    )
    base = next((str(name) for name in summary["speedup_baseline"] if name), "")
    table = Table(title=single or f"mean of {len(tasks)} suites", title_justify="left", title_style="bold")
    table.add_column("strategy", overflow="fold")
    for title, always in _COLUMNS:
        if wide or always:
            table.add_column(title, justify="right", no_wrap=True)
    if wide:
        table.add_column(f"against {base}" if base else "", no_wrap=True)
    rivals = rows[~rows["strategy"].str.startswith("oracle")]
    best = rivals["accuracy"].max() if len(rivals) else None
    for _, row in rows.iterrows():
        cells = [
            cell for cell, (_, always) in zip(_cells(row, best), _COLUMNS, strict=True) if wide or always
        ]
        if wide:
            said = "baseline" if row["strategy"] == base else str(verdicts.get(row["strategy"], ""))
            cells.append(Text(said, style={"worse": "red", "better": "green"}.get(said, "dim")))
        table.add_row(Text(str(row["strategy"])), *cells)
    return table


_COLUMNS = (
    ("accuracy %", True),
    ("95 % interval", False),
    ("NFE", True),
    ("TPF", True),
    ("queries", True),
    ("tok/s", False),
    ("speed-up", True),
    ("oracle %", True),
)


def _cells(row: pd.Series, best: float | None) -> list[Text]:
    """The row's figures in the order of `_COLUMNS`."""
    return [
        Text(percent(row["accuracy"]), style="bold" if row["accuracy"] == best else ""),
        Text(f"{percent(row['accuracy_low'])}–{percent(row['accuracy_high'])}", style="dim"),
        Text(number(row["nfe"])),
        Text(number(row["tpf_eos"], 2)),
        Text(number(row["query_tokens"], 0)),
        Text(number(row["tps"])),
        Text(times(row["speedup"])),
        Text(percent(row["oracle_share"], 0)),
    ]


def print_summary(
    summary: pd.DataFrame,
    comparisons: pd.DataFrame,
    target: Console | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Print the table of the means (of the task where there is one), what was left out of it, and the notes
    (`results.findings.notes`: what each task can detect at all)."""
    target = target or console()
    if summary.empty:
        target.print("no finished sample yet")
        return
    target.print(terminal_table(summary, comparisons, wide=target.width >= WIDE))
    whole = (
        set(mean_over_tasks(summary)["strategy"])
        if summary["task"].nunique() > 1
        else set(summary["strategy"])
    )
    partial = [spec for spec in dict.fromkeys(summary["strategy"]) if spec not in whole]
    if partial:
        target.print(Text(f"not on every suite, so not in the mean: {', '.join(partial)}", style="dim"))
    for note in notes:
        target.print(Text(note, style="dim"))
    failed = int(summary["failed"].sum())
    if failed:
        target.print(Text(f"{failed} samples failed; samples.jsonl says why", style="red"))
