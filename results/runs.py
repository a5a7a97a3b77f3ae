"""A run directory read back: its samples, settings, environment and the texts of its tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from results.errors import ResultsError
from results.metrics import to_frame
from results.records import SampleRecord, read_samples


class Origin(NamedTuple):
    """Where a merged run's sample comes from.

    spec: its strategy there. run: the run's place among those merged. like: the place of the first of them
    that has the same settings, so that figures without a clock may be held against each other.
    """

    spec: str
    run: int
    like: int


@dataclass(frozen=True)
class Run:
    """One run, or several merged; `config` and `environment` are the plain documents that `run` wrote."""

    name: str
    records: list[SampleRecord]
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    vocab: dict[int, str] = field(default_factory=dict)
    parts: tuple[Run, ...] = ()
    origins: tuple[Origin, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """The samples' scalar fields, one row a sample (see `results.metrics.to_frame`)."""
        frame = to_frame(self.records)
        if self.origins:
            frame = frame.assign(**pd.DataFrame(self.origins, index=frame.index))
        return frame


def load_run(directory: str | Path) -> Run:
    """Read a run directory; only samples.jsonl must be there.

    Raises:
        ResultsError: no samples.jsonl, a broken line in it, or an unreadable config.yaml, environment.json or
            vocab.json (named).
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ResultsError(f"{directory} is not a directory; name one that `run` wrote")
    records = read_samples(directory / "samples.jsonl")
    vocab = _document(directory / "vocab.json")
    return Run(
        name=directory.resolve().name,
        records=records,
        config=_document(directory / "config.yaml"),
        environment=_document(directory / "environment.json"),
        vocab={int(key): str(text) for key, text in vocab.items() if str(key).isdecimal()},
    )


def _document(path: Path) -> dict[str, Any]:
    """A YAML or JSON mapping, empty where the file is absent."""
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ResultsError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ResultsError(f"{path} does not hold a mapping")
    return found


COMPARED_SETTINGS = ("model", "adapter", "gen_length", "block_length", "temperature")


def setting_differences(a: Run, b: Run) -> list[str]:
    """Why two runs' figures cannot be held against each other, one sentence a cause; empty when they can.

    Compared are the model, the generation settings and the protocol's hash, for the tasks that both ran.
    """
    found = conflicts(a, b)
    if not set(_tasks(a)) & set(_tasks(b)):
        found.append(f"{a.name} and {b.name} have no task in common")
    return found


def conflicts(a: Run, b: Run) -> list[str]:
    """As `setting_differences`, of runs that need not have a task in common."""
    found = []
    shared = set(_tasks(a)) & set(_tasks(b))
    for name in COMPARED_SETTINGS:
        first, second = (_setting(run.config.get(name), shared) for run in (a, b))
        if first is not None and second is not None and first != second:
            found.append(f"{name}: {_short(first)} in {a.name}, {_short(second)} in {b.name}")
    hashes = [{r.task: r.protocol_hash for r in run.records if r.protocol_hash} for run in (a, b)]
    for task in sorted(shared):
        first, second = hashes[0].get(task), hashes[1].get(task)
        if first and second and first != second:
            found.append(f"protocol of {task}: {_short(first)} in {a.name}, {_short(second)} in {b.name}")
    return found


def _tasks(run: Run) -> list[str]:
    return list(dict.fromkeys(record.task for record in run.records))


def _setting(value: Any, tasks: set[str]) -> Any:
    """A setting as it concerns the tasks: one given for each task is cut to them."""
    if isinstance(value, dict):
        return {task: value[task] for task in sorted(tasks) if task in value} or None
    return value


def _short(value: Any) -> str:
    return str(value)[:60]
