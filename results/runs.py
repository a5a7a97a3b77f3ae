"""A run directory read back: its samples, settings, environment and the texts of its tokens."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from results.errors import ResultsError
from results.metrics import to_frame
from results.records import SampleRecord, read_samples


@dataclass(frozen=True)
class Run:
    """One run, or several merged; `config` and `environment` are the plain documents that `run` wrote."""

    name: str
    records: list[SampleRecord]
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    vocab: dict[int, str] = field(default_factory=dict)
    parts: tuple[Run, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """The samples' scalar fields, one row a sample (see `results.metrics.to_frame`)."""
        return to_frame(self.records)


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
    if not shared:
        found.append(f"{a.name} and {b.name} have no task in common")
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


def merge_runs(runs: Sequence[Run]) -> Run:
    """Several runs as one; a strategy x task that more than one holds is told apart by its run's name, and so
    is every strategy of another model than the first run's. Settings are those that the runs agree on.

    Raises:
        ResultsError: no run given.
    """
    if not runs:
        raise ResultsError("no run directory given")
    if len(runs) == 1:
        return runs[0]
    names = _distinct_names(runs)
    owners: dict[tuple[str, str], set[str]] = {}
    for run, name in zip(runs, names, strict=True):
        for record in run.records:
            owners.setdefault((record.strategy, record.task), set()).add(name)
    clashing = {strategy for (strategy, _), held in owners.items() if len(held) > 1}
    records = []
    for run, name in zip(runs, names, strict=True):
        other = run.config.get("model") != runs[0].config.get("model")
        for record in run.records:
            apart = name != names[0] and (other or record.strategy in clashing)
            records.append(_renamed(record, f"{record.strategy} ({name})" if apart else record.strategy))
    vocab: dict[int, str] = {}
    if len({run.config.get("model") for run in runs}) == 1:
        for run in runs:
            vocab.update(run.vocab)
    config, environment = (
        _agreed([getattr(run, name) for run in runs]) for name in ("config", "environment")
    )
    return Run(" + ".join(names), records, config, environment, vocab, tuple(runs))


def _agreed(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the documents say alike; of settings given for each task, those without a conflict."""
    found: dict[str, Any] = {}
    for name in documents[0]:
        values: list[Any] = [document.get(name) for document in documents]
        if all(value == values[0] for value in values):
            found[name] = values[0]
        elif all(isinstance(value, dict) for value in values):
            keys = dict.fromkeys(key for value in values for key in value)
            said = {key: [value[key] for value in values if key in value] for key in keys}
            found[name] = {key: each[0] for key, each in said.items() if all(e == each[0] for e in each)}
    return found


def _renamed(record: SampleRecord, strategy: str) -> SampleRecord:
    if strategy == record.strategy:
        return record
    return dataclasses.replace(record, strategy=strategy)


def _distinct_names(runs: Sequence[Run]) -> list[str]:
    names: list[str] = []
    for run in runs:
        count = sum(each == run.name or each.startswith(f"{run.name}#") for each in names)
        names.append(run.name if not count else f"{run.name}#{count + 1}")
    return names
