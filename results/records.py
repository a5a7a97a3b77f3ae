"""One decoded and scored sample as a line of samples.jsonl, and how such files are read back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from results.errors import ResultsError

SCHEMA_VERSION = 1
STATUSES = ("ok", "failed")


@dataclass(frozen=True)
class SampleRecord:
    """One sample x strategy x task. Counts are in tokens or forwards, latency in seconds, None where unknown.

    `tokens_raw`, `tokens_eos` and `tokens_scored` are the three numerators of TPF: the generation length, the
    tokens before the first end of text, and those left after the stop strings. `refresh_steps` and
    `commit_step` count forwards from 1.
    """

    strategy: str
    task: str
    doc_id: int
    status: str = "ok"
    error: str | None = None
    correct: bool | None = None
    extracted: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    nfe: int | None = None
    refresh_nfe: int | None = None
    query_tokens: int | None = None
    tokens_raw: int | None = None
    tokens_eos: int | None = None
    tokens_scored: int | None = None
    latency_s: float | None = None
    flops: float | None = None
    peak_memory_bytes: int | None = None
    batch_size: int | None = None
    prompt_tokens: int | None = None
    protocol_hash: str | None = None
    question: str = ""
    gold: str = ""
    text: str = ""
    prompt_ids: list[int] = field(default_factory=list)
    output_ids: list[int] = field(default_factory=list)
    commit_step: list[int] = field(default_factory=list)
    confidence: list[float | None] = field(default_factory=list)
    refresh_steps: list[int] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ResultsError(
                f"schema_version {self.schema_version} is not {SCHEMA_VERSION}; use its own release"
            )
        if self.status not in STATUSES:
            raise ResultsError(f"status is {self.status!r}, not one of {', '.join(STATUSES)}")
        for name, kind in (_REQUIRED | _TEXTS | {"metrics": dict}).items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ResultsError(f"{name} is {value!r}, not of type {kind.__name__}")
        for name, kind in _OPTIONAL.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise ResultsError(f"{name} is {value!r}, not of type {kind.__name__}")
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf
            ):
                raise ResultsError(f"{name} is {value!r}, not a number from 0 up")
        for name, kinds in _LISTS.items():
            entries = getattr(self, name)
            if not isinstance(entries, list):
                raise ResultsError(f"{name} is not a list")
            strange = set(map(type, entries)) - kinds
            if strange:
                raise ResultsError(f"{name} holds a {strange.pop().__name__}")
        for name in ("commit_step", "confidence"):
            length = len(getattr(self, name))
            if length and length != len(self.output_ids):
                raise ResultsError(f"{name} has {length} entries for {len(self.output_ids)} output tokens")

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes a sample the same one when a run is continued."""
        return (self.strategy, self.task, self.doc_id)

    def to_json(self) -> str:
        """The record as one line without its newline; pure ASCII, so that a lone surrogate survives."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=True)

    @classmethod
    def from_json(cls, line: str) -> SampleRecord:
        """Read one line; keys that this release does not know are passed over.

        Raises:
            ResultsError: the line is not JSON, lacks a required key or holds a value of the wrong kind.
        """
        try:
            document = json.loads(line)
        except json.JSONDecodeError as error:
            raise ResultsError(f"not JSON ({error.msg} at character {error.pos + 1})") from error
        if not isinstance(document, dict):
            raise ResultsError("not a JSON object")
        missing = [name for name in _REQUIRED if name not in document]
        if missing:
            raise ResultsError(f"lacks {', '.join(missing)}")
        return cls(**{name: document[name] for name in _FIELDS if name in document})


_FIELDS = tuple(each.name for each in dataclasses.fields(SampleRecord))
_REQUIRED: dict[str, type] = {"strategy": str, "task": str, "doc_id": int}
_TEXTS: dict[str, type] = {"question": str, "gold": str, "text": str}
_OPTIONAL: dict[str, type] = {"correct": bool, "error": str, "extracted": str, "protocol_hash": str}
MEASURED = [
    "nfe",
    "refresh_nfe",
    "query_tokens",
    "tokens_raw",
    "tokens_eos",
    "tokens_scored",
    "latency_s",
    "flops",
    "peak_memory_bytes",
    "batch_size",
]
_COUNTS = [*MEASURED, "prompt_tokens"]
_LISTS: dict[str, set[type]] = {
    "prompt_ids": {int},
    "output_ids": {int},
    "commit_step": {int},
    "confidence": {int, float, type(None)},
    "refresh_steps": {int},
}


def read_samples(path: str | Path) -> list[SampleRecord]:
    """Every sample of a samples.jsonl, in file order; a sample written twice counts as its last line says.

    A last line that a killed run left unfinished is passed over; a broken line anywhere else is an error, as
    it means that the file was changed by something other than a run.

    Raises:
        ResultsError: the file is missing, or a line before the last is broken (its number is named).
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise ResultsError(f"{path} does not exist; name a directory that `run` wrote") from None
    while lines and not lines[-1].strip():
        lines.pop()
    found: dict[tuple[str, str, int], SampleRecord] = {}
    for number, raw in enumerate(lines, start=1):
        if not raw.strip():
            continue
        try:
            record = SampleRecord.from_json(raw.decode("utf-8"))
        except (ResultsError, UnicodeDecodeError) as error:
            if number == len(lines) and _cut_short(raw):
                break
            raise ResultsError(f"{path}, line {number}: {error}") from error
        found.pop(record.key, None)
        found[record.key] = record
    return list(found.values())


def _cut_short(raw: bytes) -> bool:
    """Whether a line is the beginning of a JSON object and no whole one."""
    try:
        json.loads(raw.decode("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return True
    return False


def mend_tail(path: str | Path) -> int:
    """Make a samples.jsonl ready to be appended to: drop an unfinished last line, end a whole one.

    Returns the number of bytes dropped (0 where the file was sound or absent).
    """
    path = Path(path)
    if not path.exists():
        return 0
    content = path.read_bytes()
    start = content.rfind(b"\n") + 1
    tail = content[start:]
    if not tail:
        return 0
    if not _cut_short(tail):
        with path.open("ab") as handle:
            handle.write(b"\n")
        return 0
    with path.open("r+b") as handle:
        handle.truncate(start)
    return len(tail)


def write_samples(path: str | Path, records: Iterable[SampleRecord]) -> None:
    """Write records as a samples.jsonl, replacing what is there."""
    with Path(path).open("w", encoding="ascii", newline="\n") as handle:
        for record in records:
            handle.write(record.to_json() + "\n")
