"""Everything that is derived from a run directory's samples: tables, figures and the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from results import published, report
from results.comparisons import detectable
from results.curves import curves, families
from results.findings import Findings, find, plain, rows, tuned
from results.merge import merge_runs
from results.plots import certainty, tradeoff, unmasking
from results.plots.style import rule_of
from results.runs import load_run

SUMMARY_VERSION = 1


def write_outputs(
    run_dir: str | Path | Sequence[str | Path], output: str | Path | None = None
) -> dict[str, Path]:
    """Write summary.csv, summary.json, tradeoff.png/.svg/.csv, figures/ and report.html.

    Where the run asked for a tune fraction, tuned.csv has summary.csv's columns over the problems that no
    setting was picked on, with each sweep's picked setting alone.

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
    return write_findings(find(merge_runs([load_run(directory) for directory in directories])), target)


def write_findings(findings: Findings, target: Path) -> dict[str, Path]:
    """Write all outputs of what was found into `target`; see `write_outputs`."""
    target.mkdir(parents=True, exist_ok=True)
    paths = {"summary": target / "summary.csv", "summary_json": target / "summary.json"}
    findings.summary.to_csv(paths["summary"], index=False, lineterminator="\n")
    document = summary_document(findings)
    paths["summary_json"].write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="ascii")
    if "tuned" in document:
        paths["tuned"] = target / "tuned.csv"
        tested = pd.DataFrame(document["tuned"]["rows"], columns=list(findings.summary.columns))
        tested.to_csv(paths["tuned"], index=False, lineterminator="\n")
    paths |= draw_figures(findings, target)
    paths["report"] = report.write(findings, document, target / "report.html")
    return paths


def draw_figures(findings: Findings, target: Path) -> dict[str, Path]:
    """Draw every figure the samples allow: tradeoff in `target`, the others in its folder `figures`."""
    run, summary = findings.run, findings.summary
    printed = published.points(summary, run.config)
    paths = {}
    for name, axis in tradeoff.AXES.items():
        stem = target / "tradeoff" if name == "tpf" else target / "figures" / f"tradeoff_{name}"
        if name == "tpf" or summary[axis.column].notna().any():
            paths[stem.name] = tradeoff.draw(summary, stem, axis, published=printed)[0]
    chosen = telling_strategies(findings)
    shown = unmasking.pick(run.records, chosen)
    if shown:
        lengths = run.config.get("block_length")
        block = lengths.get(shown[0].task) if isinstance(lengths, Mapping) else lengths
        paths["unmasking"] = unmasking.draw(
            shown, target / "figures" / "unmasking", block_length=block if isinstance(block, int) else None
        )[0]
        several = [spec for spec in dict.fromkeys(findings.samples["strategy"]) if "+" not in spec][:9]
        paths["certainty"] = certainty.draw(run.records, several or chosen, target / "figures" / "certainty")[
            0
        ]
    return paths


def telling_strategies(findings: Findings) -> list[str]:
    """Up to three strategies worth seeing side by side: the most parallel of the uncached rules, the most
    parallel cached one, and the most parallel of another rule than the first."""
    table = findings.means if len(findings.means) else findings.summary
    ranked = table.sort_values("tpf_eos", ascending=False)["strategy"].drop_duplicates().tolist()
    rivals = [spec for spec in ranked if rule_of(spec) != "oracle"]
    uncached = [spec for spec in rivals if "-cache" not in spec]
    cached = [spec for spec in rivals if "-cache" in spec]
    others = [spec for spec in uncached[1:] if rule_of(spec) != rule_of(uncached[0])]
    return [*uncached[:1], *cached[:1], *others[:1]]


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
        "published": rows(published.join(findings.summary, run.config, run.environment)),
        "published_points": rows(published.points(findings.summary, run.config)),
        "sweeps": families(list(findings.samples["strategy"])),
    }
    fraction = run.config.get("tune_fraction")
    if fraction:
        picked, tested, reason = tuned(findings)
        document["tuned"] = {
            "fraction": fraction,
            "picked": [
                plain(dataclasses.asdict(each)) | {"sentence": each.sentence(tested)} for each in picked
            ],
            "reason": reason,
            "rows": rows(tested),
        }
    return document
