"""The data of a report page: an overview that is read at once, and samples, unpacked when looked at."""

from __future__ import annotations

import base64
import colorsys
import gzip
import json
import math
from collections.abc import Iterator
from typing import Any

from matplotlib import colors

from results.findings import Findings, plain
from results.plots import style
from results.records import SampleRecord
from results.runs import Run

PROBLEMS_A_TASK = 200


def title(run: Run) -> str:
    """What the page is headed with: the model and the run's name."""
    model = run.config.get("model")
    return f"{model}, run {run.name}" if model else run.name


def embed(document: Any) -> str:
    """JSON that is safe inside a script element: pure ASCII, without a `<`, `>` or `&`."""
    text = json.dumps(plain(document), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def overview(findings: Findings, document: dict[str, Any]) -> dict[str, Any]:
    """Everything of the page except the samples."""
    run = findings.run
    specs = list(dict.fromkeys(findings.samples["strategy"]))
    tasks = list(dict.fromkeys(findings.samples["task"]))
    return {
        "title": title(run),
        "summary": document,
        "tasks": tasks,
        "strategies": [_strategy(spec, mark) for spec, mark in style.marks(specs).items()],
        "runs": [
            {"name": part.name, "config": part.config, "environment": part.environment}
            for part in (run.parts or (run,))
        ],
        "viewer": _viewer(run),
    }


def _strategy(spec: str, mark: style.Mark) -> dict[str, str]:
    return {
        "spec": spec,
        "colour": mark.colour,
        "dark": for_dark(mark.colour),
        "marker": mark.marker,
        "fill": mark.fill,
    }


def for_dark(colour: str) -> str:
    """The same hue, light enough to be read on a dark ground."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*colors.to_rgb(colour))
    return colors.to_hex(
        colorsys.hls_to_rgb(
            hue, max(0.66, 1 - lightness * 0.9) if saturation < 0.1 else 0.68, saturation * 0.9
        )
    )


def _shown(run: Run) -> dict[str, list[int]]:
    """The problems a task that the viewer holds: the first of them, by number."""
    found: dict[str, set[int]] = {}
    for record in run.records:
        found.setdefault(record.task, set()).add(record.doc_id)
    return {task: sorted(ids)[:PROBLEMS_A_TASK] for task, ids in found.items()}


def _viewer(run: Run) -> dict[str, Any]:
    """Which block holds which samples, and the problems themselves."""
    shown = _shown(run)
    problems: dict[str, dict[int, list[Any]]] = {task: {} for task in shown}
    verdicts: dict[str, dict[str, str]] = {}
    inside = {task: set(ids) for task, ids in shown.items()}
    counts: dict[str, set[int]] = {}
    marks: dict[tuple[str, str], dict[int, str]] = {}
    for record in run.records:
        counts.setdefault(record.task, set()).add(record.doc_id)
        if record.doc_id not in inside[record.task]:
            continue
        problems[record.task].setdefault(record.doc_id, [record.doc_id, record.question, record.gold])
        marks.setdefault((record.task, record.strategy), {})[record.doc_id] = _mark(record)
    for (task, strategy), by_id in marks.items():
        verdicts.setdefault(task, {})[strategy] = "".join(by_id.get(doc_id, " ") for doc_id in shown[task])
    return {
        "problems": {task: [problems[task][doc_id] for doc_id in ids] for task, ids in shown.items()},
        "verdicts": verdicts,
        "blocks": {name: [task, strategy] for name, task, strategy in _block_names(run)},
        "total": {task: len(ids) for task, ids in counts.items()},
    }


def _mark(record: SampleRecord) -> str:
    """One letter a sample: right, wrong, failed, or unjudged."""
    if record.status == "failed":
        return "f"
    return {True: "r", False: "w", None: "u"}[record.correct]


def _block_names(run: Run) -> list[tuple[str, str, str]]:
    cells = dict.fromkeys((record.task, record.strategy) for record in run.records)
    return [(f"samples-{i}", task, strategy) for i, (task, strategy) in enumerate(cells)]


def chunks(run: Run) -> Iterator[tuple[str, str]]:
    """Name and packed content of each block of samples, one a task x strategy, and of the vocabulary."""
    shown = {task: set(ids) for task, ids in _shown(run).items()}
    cells: dict[tuple[str, str], list[SampleRecord]] = {}
    used: set[int] = set()
    for record in run.records:
        if record.doc_id in shown[record.task]:
            cells.setdefault((record.task, record.strategy), []).append(record)
            used.update(record.output_ids)
    for name, task, strategy in _block_names(run):
        yield name, pack({record.doc_id: _sample(record) for record in cells.get((task, strategy), [])})
    yield "vocabulary", pack({token: run.vocab[token] for token in sorted(used) if token in run.vocab})


def _sample(record: SampleRecord) -> dict[str, Any]:
    """One sample for the viewer; confidences in thousandths, -1 where unknown."""
    return {
        "mark": _mark(record),
        "extracted": record.extracted,
        "error": record.error,
        "text": record.text,
        "nfe": record.nfe,
        "seconds": plain(record.latency_s),
        "end": record.tokens_eos,
        "refreshes": record.refresh_steps,
        "ids": record.output_ids,
        "steps": record.commit_step,
        "confidence": [
            -1 if c is None or not math.isfinite(c) else round(1000 * c) for c in record.confidence
        ],
    }


def pack(document: Any) -> str:
    """JSON, gzipped (without a time stamp) and in base64."""
    raw = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")
    return base64.b64encode(gzip.compress(raw, compresslevel=6, mtime=0)).decode("ascii")
