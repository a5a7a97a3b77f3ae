"""A run's directory: its settings, and its samples as an append-only log that survives being killed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import yaml

from harness.errors import UserError
from results.records import SampleRecord, mend_tail, read_samples

CONFIG, ENVIRONMENT, SAMPLES = "config.yaml", "environment.json", "samples.jsonl"
TRACES, VOCAB, LOCK = "traces.jsonl", "vocab.json", ".lock"
SAME = ("model", "model_family", "dtype", "device", "seed", "temperature", "data", "option")
SAME_BY_KEY = ("model_files", "gen_length", "block_length", "protocol_hashes")

Key = tuple[str, str, int]


class RunStore:
    """An open run directory. records: every sample so far by (strategy, task, doc_id), its last state."""

    def __init__(self, directory: Path) -> None:
        """Create or reopen `directory` for this process alone. Raises UserError where that cannot be."""
        self.directory = directory
        self.records: dict[Key, SampleRecord] = {}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = (directory / LOCK).open("w")
            if not _lock(self._lock):
                raise UserError(
                    f"another run is writing to {directory}; wait for it or choose another --output"
                )
            samples = directory / SAMPLES
            if not (directory / CONFIG).exists() and samples.exists() and samples.stat().st_size:
                raise UserError(
                    f"{directory} holds samples but no {CONFIG}, so what made them is unknown;"
                    " choose another --output"
                )
            for name in (SAMPLES, TRACES):
                mend_tail(directory / name)
            self._samples = (directory / SAMPLES).open("a", encoding="ascii")
        except OSError as error:
            raise UserError(
                f"cannot write to {directory}: {error.strerror}; choose another --output"
            ) from error
        self.records = {record.key: record for record in read_samples(directory / SAMPLES)}
        self._traces: IO[str] | None = None

    def settle(self, document: dict[str, Any]) -> dict[str, Any]:
        """Write the settings, those of the directory's earlier run extended by this one's, and return them.

        Strategies and tasks may be added and the limit raised; whatever else changes results must be as
        it was. Raises UserError that names the first difference.
        """
        path = self.directory / CONFIG
        if path.exists():
            document = extend(read_document(path), document, self.directory)
        replace(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        return document

    def describe(self, environment: Mapping[str, Any]) -> None:
        """Write the environment; a continuation on another machine or version is added, not overwritten."""
        path = self.directory / ENVIRONMENT
        ours = dict(environment)
        if path.exists():
            with contextlib.suppress(ValueError):
                first = json.loads(path.read_text())
                later = first.pop("continued", [])
                if ours not in [first, *later]:
                    later.append(ours)
                ours = {**first, "continued": later} if later else first
        replace(path, json.dumps(ours, indent=1) + "\n")

    def append(self, record: SampleRecord) -> None:
        """Add a sample, or its new state, on disk before this returns."""
        try:
            self._samples.write(record.to_json() + "\n")
            self._samples.flush()
            os.fsync(self._samples.fileno())
        except OSError as error:
            where = f"cannot write to {self.directory}: {error.strerror}"
            raise UserError(f"{where}; make room and run the same command again") from error
        self.records[record.key] = record

    def untraced(self) -> int:
        """How many samples have no line in traces.jsonl, because they were decoded without --trace."""
        path = self.directory / TRACES
        lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
        traced = {(held["strategy"], held["task"], held["doc_id"]) for held in map(json.loads, lines)}
        return sum(key not in traced for key in self.records)

    def trace(self, record: SampleRecord, events: list[list[tuple[int, int]]]) -> None:
        """Add what every forward of a sample committed to traces.jsonl."""
        if self._traces is None:
            self._traces = (self.directory / TRACES).open("a", encoding="ascii")
        line = {"strategy": record.strategy, "task": record.task, "doc_id": record.doc_id, "trace": events}
        self._traces.write(json.dumps(line) + "\n")
        self._traces.flush()

    def tidy(self, strategies: Iterable[str], tasks: Iterable[str]) -> None:
        """Rewrite the log with one line a sample, by strategy, task and problem in the given order."""
        places = [{name: place for place, name in enumerate(names)} for names in (strategies, tasks)]

        def order(record: SampleRecord) -> tuple[int, int, int]:
            last = len(self.records)
            return places[0].get(record.strategy, last), places[1].get(record.task, last), record.doc_id

        ordered = sorted(self.records.values(), key=order)
        self.records = {record.key: record for record in ordered}
        replace(self.directory / SAMPLES, "".join(record.to_json() + "\n" for record in ordered))
        self._samples.close()
        self._samples = (self.directory / SAMPLES).open("a", encoding="ascii")

    def add_vocab(self, text_of: Callable[[int], str]) -> None:
        """Write the texts of all token ids that occur, for the report's viewer; `text_of` knows new ones."""
        path = self.directory / VOCAB
        held: dict[str, str] = {}
        if path.exists():
            with contextlib.suppress(ValueError):
                held = json.loads(path.read_text())
        used = {token for record in self.records.values() for token in record.output_ids + record.prompt_ids}
        missing = sorted(token for token in used if str(token) not in held)
        if missing:
            held |= {str(token): text_of(token) for token in missing}
            replace(path, json.dumps(held) + "\n")

    def close(self) -> None:
        """Let go of the directory."""
        self._samples.close()
        if self._traces is not None:
            self._traces.close()
        self._lock.close()


def _lock(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def extend(earlier: dict[str, Any], ours: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The settings of a directory after `ours` continues the run of `earlier`. Raises UserError."""
    differences = [
        (name, earlier.get(name), ours.get(name)) for name in SAME if earlier.get(name) != ours.get(name)
    ]
    for name in SAME_BY_KEY:
        first, second = earlier.get(name) or {}, ours.get(name) or {}
        for key in first:
            if key in second and first[key] != second[key]:
                differences.append((f"{name} of {key}", first[key], second[key]))
    if differences:
        name, first, second = differences[0]
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise UserError(
            f"{directory} holds a run with {name} {first!r}, not {second!r}{more};"
            " give the same settings to continue it, or another --output"
        )
    limits = earlier.get("limit"), ours.get("limit")
    if isinstance(limits[1], int) and (not isinstance(limits[0], int) or limits[0] > limits[1]):
        raise UserError(
            f"{directory} holds a run with limit {limits[0]}, not {limits[1]}; a run's limit can only be"
            " raised, so give another --output"
        )
    merged = {**earlier, **ours, "started": earlier.get("started", ours.get("started"))}
    for name in SAME_BY_KEY:
        merged[name] = {**(earlier.get(name) or {}), **(ours.get(name) or {})}
    for name in ("strategies", "tasks"):
        merged[name] = list(dict.fromkeys([*earlier.get(name, []), *ours[name]]))
    return merged


def read_document(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file that `run` wrote. Raises UserError where it is none."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise UserError(f"{path} does not hold a run's settings; choose another --output")
    return document


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all, whenever the process is killed."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(path)
