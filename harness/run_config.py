"""What a run was asked for: flags over a YAML file over defaults, checked before anything loads."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UserError
from harness.sweep import expand
from strategies.registry import nearest, normal, split_list

DEMO_TASKS = ("demo-gsm8k", "demo-math", "demo-humaneval", "demo-mbpp")
DEMO_LIMIT = 24  # problems a demo suite by default: the whole default run then takes minutes on two cores
ALL_PROBLEMS = "all"
# What config.yaml holds beside the options, so that it can itself be given as --config.
DERIVED = (
    "model_family",
    "model_files",
    "dropped",
    "protocol_hashes",
    "shots",
    "started",
    "schema_version",
)


@dataclass(frozen=True)
class RunConfig:
    """The options of `run`; None where the model, the task or the machine decides.

    strategies: a list of specs; all of them by default, none beside a sweep. limit: problems a task, or
    "all". gen_length, block_length: tokens, for every task or by task name. batch_size: rows decoded
    together. tune_fraction: share of the problems that choose each sweep's operating point
    (results.curves.tune), 0 for none. option: named task options.
    """

    strategies: str | None = None
    model: str = "demo"
    tasks: tuple[str, ...] = DEMO_TASKS
    limit: int | str | None = None
    output: Path | None = None
    gen_length: int | dict[str, int] | None = None
    block_length: int | dict[str, int] | None = None
    batch_size: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    data: Path | None = None
    protocol: str | None = None
    trace: bool = False
    seed: int = 0
    temperature: float = 0.0
    plugin: tuple[str, ...] = ()
    sweep: tuple[str, ...] = ()
    tune_fraction: float = 0.0
    allow_unsandboxed_code: bool = False
    option: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.tasks:
            raise UserError("no task given; see `python -m harness list tasks`")
        if not self.specs:
            raise UserError("no strategy given; write all, or specs separated by commas")
        if isinstance(self.limit, str) and self.limit != ALL_PROBLEMS:
            raise UserError(f"--limit {self.limit!r} is neither a number of problems nor all")
        for name in ("limit", "gen_length", "block_length", "batch_size"):
            value = getattr(self, name)
            for number in value.values() if isinstance(value, dict) else (value,):
                if isinstance(number, int) and number < 1:
                    raise UserError(f"{flag(name)} is {number}; it must be at least 1")
        if not 0 <= self.temperature < math.inf:
            raise UserError(f"--temperature is {self.temperature:g}; it must be finite and at least 0")
        if not 0 <= self.tune_fraction < 1:
            raise UserError(
                f"--tune-fraction is {self.tune_fraction:g}; it must be at least 0 and less than 1"
            )

    @property
    def specs(self) -> list[str]:
        """The strategies asked for, sweeps expanded; `all` stays as it is."""
        return self.named + self.swept

    @property
    def named(self) -> list[str]:
        """The strategies asked for one by one: all of them by default, none beside a sweep."""
        listed = ("" if self.sweep else "all") if self.strategies is None else self.strategies
        return [normal(spec) for spec in split_list(listed)]

    @property
    def swept(self) -> list[str]:
        """The settings of the sweeps."""
        return [spec for sweep in self.sweep for spec in expand(sweep)]

    @property
    def problem_limit(self) -> int | None:
        """Problems a task, None for all: the demo suites are shortened unless the user says otherwise."""
        if self.limit == ALL_PROBLEMS:
            return None
        if self.limit is None and set(self.tasks) <= set(DEMO_TASKS):
            return DEMO_LIMIT
        return self.limit  # type: ignore[return-value]

    def length(self, name: str, task: str) -> int | None:
        """The user's gen_length or block_length for a task, None where the protocol decides."""
        value = getattr(self, name)
        return value.get(task) if isinstance(value, dict) else value


def flag(name: str) -> str:
    """The command-line spelling of an option."""
    return "--" + name.replace("_", "-")


def combine(flags: Mapping[str, Any], file: Path | None) -> RunConfig:
    """Flags that were given (not None) over the YAML file over defaults. Raises UserError."""
    chosen = read_file(file) if file is not None else {}
    chosen |= {name: value for name, value in flags.items() if value is not None}
    return RunConfig(**chosen)


def read_file(path: Path) -> dict[str, Any]:
    """The options of a --config file; keys are the long options with underscores.

    Raises UserError for a file that is missing or malformed, an unknown key and a value of another type.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise UserError(f"--config {path} holds no `option: value` lines")
    known = {field.name: str(field.type) for field in dataclasses.fields(RunConfig)}
    options = {}
    for key, value in raw.items():
        name = str(key).replace("-", "_")
        if name == "protocol" and isinstance(value, dict):
            value = value.get("name")  # as config.yaml says it, with the hash
        if name in DERIVED or value is None:
            continue
        if name not in known:
            raise UserError(
                f"--config {path}: unknown option {key!r}{nearest(name, known)} (known: {', '.join(known)})"
            )
        options[name] = _read_value(f"--config {path}: {key}", known[name], value)
    return options


def _read_value(where: str, kind: str, value: Any) -> Any:
    """A YAML value as the type `kind` of a RunConfig field."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind == "tuple[str, ...]":
        items = value if isinstance(value, list) else str(value).split(",")
        if all(isinstance(item, str) for item in items):
            return tuple(item.strip() for item in items if item.strip())
    elif kind == "bool" and isinstance(value, bool):
        return value
    elif kind == "float" and (whole or isinstance(value, float)):
        return float(value)
    elif "Path" in kind and isinstance(value, str):
        return Path(value)
    elif kind.startswith("str") and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    elif "dict" in kind and isinstance(value, dict):
        if all(isinstance(task, str) and type(length) is int for task, length in value.items()):
            return dict(value)
    elif ("str" in kind and isinstance(value, str)) or ("int" in kind and whole):
        return value
    raise UserError(f"{where} is {value!r}, not of type {kind.removesuffix(' | None')}")
