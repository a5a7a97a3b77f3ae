"""The table that a run ends with on the terminal, and number formats that every table shares."""

from __future__ import annotations

import math

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


def terminal_table(summary: pd.DataFrame, comparisons: pd.DataFrame, *, task: str | None = None) -> Table:
    """The strategies of one task, or of the mean over the tasks; the best of a column is bold.

    Args:
        summary: as `results.metrics.summarise` gives it.
        comparisons: as `results.comparisons.against_baseline` gives it.
    """
    tasks = list(dict.fromkeys(summary["task"]))
    single = task or (tasks[0] if len(tasks) == 1 else None)
    rows = summary[summary["task"] == single] if single else mean_over_tasks(summary)
    verdicts = (
        comparisons[comparisons["task"] == (single or ALL_TASKS)].set_index("strategy")["verdict"].to_dict()
    )
    base = next((str(name) for name in summary["speedup_baseline"] if name), "")
    table = Table(title=single or f"mean of {len(tasks)} suites", title_justify="left", title_style="bold")
    table.add_column("strategy", no_wrap=True)
    for title in ("accuracy %", "95 % interval", "NFE", "TPF", "queries", "tok/s", "speed-up", "oracle %"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column(f"against {base}" if base else "", no_wrap=True)
    best = {name: rows[name].max() for name in ("accuracy", "tpf_eos", "speedup")} if len(rows) else {}
    for _, row in rows.iterrows():
        cells = [
            Text(percent(row["accuracy"]), style="bold" if row["accuracy"] == best["accuracy"] else ""),
            Text(f"{percent(row['accuracy_low'])}–{percent(row['accuracy_high'])}", style="dim"),
            number(row["nfe"]),
            number(row["tpf_eos"], 2),
            number(row["query_tokens"], 0),
            number(row["tps"]),
            times(row["speedup"]),
            percent(row["oracle_share"], 0),
        ]
        said = "baseline" if row["strategy"] == base else str(verdicts.get(row["strategy"], ""))
        colour = {"worse": "red", "better": "green"}.get(said, "dim")
        table.add_row(Text(str(row["strategy"])), *cells, Text(said, style=colour))
    return table


def print_summary(summary: pd.DataFrame, comparisons: pd.DataFrame, console: Console | None = None) -> None:
    """Print the table of the means (of the task where there is one), and what was left out of it."""
    console = console or Console()
    if summary.empty:
        console.print("no finished sample yet")
        return
    console.print(terminal_table(summary, comparisons))
    whole = (
        set(mean_over_tasks(summary)["strategy"])
        if summary["task"].nunique() > 1
        else set(summary["strategy"])
    )
    partial = [spec for spec in dict.fromkeys(summary["strategy"]) if spec not in whole]
    if partial:
        console.print(Text(f"not on every suite, so not in the mean: {', '.join(partial)}", style="dim"))
    failed = int(summary["failed"].sum())
    if failed:
        console.print(Text(f"{failed} samples failed; samples.jsonl says why", style="red"))
