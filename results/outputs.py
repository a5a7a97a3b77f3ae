"""Everything that is derived from a run directory's samples: tables, figures and the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results import report
from results.comparisons import detectable
from results.curves import curves, families, tune
from results.findings import Findings, find, plain, rows
from results.plots import tradeoff
from results.runs import load_run, merge_runs

SUMMARY_VERSION = 1


def write_outputs(
    run_dir: str | Path | Sequence[str | Path], output: str | Path | None = None
) -> dict[str, Path]:
    """Write summary.csv, summary.json, tradeoff.png/.svg/.csv, figures/ and report.html.

    Args:
        run_dir: one run directory, or several that are merged.
        output: where to write; by default the (first) run directory.

    Returns:
        The path of each output by its name (`summary`, `summary_json`, `tradeoff`, `report`).

    Raises:
        ResultsError: a run directory cannot be read.
    """
    directories = [run_dir] if isinstance(run_dir, str | Path) else list(run_dir)
    target = Path(output if output is not None else directories[0])
    target.mkdir(parents=True, exist_ok=True)
    findings = find(merge_runs([load_run(directory) for directory in directories]))
    paths = {"summary": target / "summary.csv", "summary_json": target / "summary.json"}
    findings.summary.to_csv(paths["summary"], index=False, lineterminator="\n")
    document = summary_document(findings)
    paths["summary_json"].write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="ascii")
    paths["tradeoff"] = tradeoff.draw(findings.summary, target / "tradeoff", tradeoff.AXES["tpf"])[0]
    paths["report"] = report.write(findings, document, target / "report.html")
    return paths


def summary_document(findings: Findings) -> dict[str, Any]:
    """The content of summary.json; a missing figure is null."""
    run = findings.run
    document: dict[str, Any] = {
        "schema_version": SUMMARY_VERSION,
        "run": run.name,
        "model": run.config.get("model"),
        "rows": rows(findings.summary),
        "means": rows(findings.means),
        "comparisons": rows(findings.comparisons),
        "detectable": {
            task: {**plain(dataclasses.asdict(each)), "sentence": each.sentence(task)}
            for task, each in detectable(findings.samples, findings.comparisons).items()
        },
        "curves": [plain(dataclasses.asdict(each)) for each in curves(findings.summary)],
        "sweeps": families(list(findings.samples["strategy"])),
    }
    fraction = run.config.get("tune_fraction")
    if fraction:
        picked, tested = tune(findings.samples, float(fraction))
        document["tuned"] = {
            "fraction": fraction,
            "picked": [plain(dataclasses.asdict(each)) for each in picked],
            "rows": rows(tested),
        }
    return document
