"""Several runs as one, with every figure's yardstick taken from the run that it was measured in."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from results.errors import ResultsError
from results.records import SampleRecord
from results.runs import Origin, Run, conflicts


def merge_runs(runs: Sequence[Run]) -> Run:
    """Several runs as one. Settings are those that the runs agree on.

    A strategy x task that more than one run holds is told apart by its run's name, and so is every strategy
    of a run with other settings or other problems than the first run's, as its figures belong on no curve
    of that run's.

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
    records, origins = [], []
    for place, (run, name) in enumerate(zip(runs, names, strict=True)):
        other = bool(conflicts(runs[0], run)) or _other_problems(runs[0], run)
        like = next(i for i, earlier in enumerate(runs) if i == place or not conflicts(earlier, run))
        for record in run.records:
            apart = place > 0 and (other or record.strategy in clashing)
            records.append(_renamed(record, f"{record.strategy} ({name})" if apart else record.strategy))
            origins.append(Origin(record.strategy, place, like))
    vocab: dict[int, str] = {}
    if len({run.config.get("model") for run in runs}) == 1:
        for run in runs:
            vocab.update(run.vocab)
    config, environment = (
        _agreed([getattr(run, name) for run in runs]) for name in ("config", "environment")
    )
    return Run(" + ".join(names), records, config, environment, vocab, tuple(runs), tuple(origins))


def remarks(run: Run) -> list[str]:
    """A sentence for each merged run whose strategies cannot be held against the first one's."""
    return [
        f"{part.name} has other settings than {run.parts[0].name} ({'; '.join(found)}): its strategies are"
        " compared with one another alone."
        for part in run.parts[1:]
        if (found := conflicts(run.parts[0], part))
    ]


def _other_problems(a: Run, b: Run) -> bool:
    """Whether a task that both ran was asked with different problems."""
    asked: list[dict[str, set[int]]] = [{}, {}]
    for run, problems in zip((a, b), asked, strict=True):
        for record in run.records:
            problems.setdefault(record.task, set()).add(record.doc_id)
    first, second = asked
    return any(first[task] != second[task] for task in first.keys() & second.keys())


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
