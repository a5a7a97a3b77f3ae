"""What a run says at its end: the table, where everything lies, and the same as one JSON object."""

from __future__ import annotations

import math
import sys
from typing import Any

from rich.console import Console

from harness.progress import clock
from harness.runner import Outcome

PLAIN_WIDTH = 160  # columns of the table where stdout is no terminal
NAMED = ("tradeoff", "report", "summary")
SHOWN = ("accuracy", "nfe", "tpf_eos", "query_tokens", "tps", "speedup", "oracle_share")


def report(outcome: Outcome) -> dict[str, Any]:
    """Print table and paths to stdout, and return the summary that becomes the last line."""
    document: dict[str, Any] = {
        "run": str(outcome.directory),
        "samples": len(outcome.records),
        "failed": outcome.failed,
        "seconds": round(outcome.seconds, 1),
        "stopped": outcome.stopped,
    }
    if outcome.stopped is not None:
        print(
            f"stopped by {outcome.stopped}: {len(outcome.records)} samples are kept; run the same command"
            f" with --output {outcome.directory} to go on",
            file=sys.stderr,
        )
        return document
    from results.findings import find, notes
    from results.metrics import mean_over_tasks
    from results.runs import load_run
    from results.table import print_summary

    findings = find(load_run(outcome.directory))
    console = Console()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    print_summary(findings.summary, findings.comparisons, console, notes(findings))
    failures = [record for record in outcome.records if record.status == "failed"]
    if failures:
        first = failures[0]
        where = f"{first.strategy} on {first.task} problem {first.doc_id}"
        print(f"{len(failures)} samples failed, the first {where}: {first.error}", file=sys.stderr)
    print(f"{len(outcome.records)} samples in {clock(outcome.seconds)}")
    for name in NAMED:
        if name in outcome.paths:
            print(f"  {outcome.paths[name]}")
    means = mean_over_tasks(findings.summary)
    document["strategies"] = {
        row["strategy"]: {name: _plain(row[name]) for name in SHOWN} for _, row in means.iterrows()
    }
    document["paths"] = {name: str(path) for name, path in outcome.paths.items()}
    return document


def _plain(value: Any) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
