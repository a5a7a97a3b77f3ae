"""Protocols: how a paper asks and judges each task, read from YAML and hashed into every record."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UserError
from strategies.registry import nearest

DIRECTORY = Path(__file__).parent / "definitions" / "protocols"
DEFAULT = "dparallel"
POSTPROCESS = ("none", "fenced", "sanitize")
HASH_DIGITS = 16


@dataclass(frozen=True)
class TaskProtocol:
    """How one task is asked and judged.

    `lm_eval` names the task definition it builds on, `text` (a template over the row) replaces that task's
    prompt, `prefix` its opening of the answer, `until` its stop strings, each only where it is not None;
    `tail` follows the prompt, `extract` adds extractions in lm-eval's `filter_list` form to its own.
    """

    lm_eval: str
    shots: int
    chat: bool
    gen_length: int
    block_length: int
    tail: str = ""
    text: str | None = None
    prefix: str | None = None
    until: tuple[str, ...] | None = None
    extract: tuple[dict[str, Any], ...] = ()
    postprocess: str = "none"
    headline: str | None = None


@dataclass(frozen=True)
class Protocol:
    """A named set of task protocols; `hash` changes whenever anything that it says changes."""

    name: str
    about: str
    sources: tuple[str, ...]
    tasks: dict[str, TaskProtocol]
    hash: str


def protocol_names() -> list[str]:
    """The protocols that ship, the default first."""
    names = sorted(path.stem for path in DIRECTORY.glob("*.yaml"))
    return sorted(names, key=lambda name: name != DEFAULT)


@functools.cache
def load_protocol(name: str = DEFAULT) -> Protocol:
    """The protocol of that name, or of a YAML file in the same form. Raises UserError."""
    path = DIRECTORY / f"{name}.yaml"
    if not path.is_file():
        path = Path(name)
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            known = protocol_names()
            hint = nearest(name, known)
            raise UserError(
                f"unknown protocol {name!r}{hint} (there are {', '.join(known)}; a YAML file works too)"
            )
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _protocol(raw)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a protocol ({type(error).__name__}: {reason})") from None


def _protocol(raw: dict[str, Any]) -> Protocol:
    defaults = raw.get("defaults", {})
    tasks = {name: _task(name, {**defaults, **entry}) for name, entry in raw["tasks"].items()}
    canonical = json.dumps({"name": raw["name"], "defaults": defaults, "tasks": raw["tasks"]}, sort_keys=True)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:HASH_DIGITS]
    return Protocol(raw["name"], raw["about"], tuple(raw.get("sources", ())), tasks, digest)


def _task(name: str, entry: dict[str, Any]) -> TaskProtocol:
    if entry.get("until") is not None:
        entry["until"] = tuple(entry["until"])
    entry["extract"] = tuple(entry.get("extract", ()))
    protocol = TaskProtocol(**entry)
    if protocol.postprocess not in POSTPROCESS:
        raise ValueError(f"{name}: postprocess is one of {', '.join(POSTPROCESS)}")
    return protocol
