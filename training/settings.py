"""The settings of a distillation, read from a YAML file into frozen values; unknown keys are errors."""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from harness.errors import UserError
from training.data import Canvas
from training.masking import MASK_RATIO

OBJECTIVES = ("certainty-forcing", "consistency")


@dataclass(frozen=True)
class Lora:
    """The adapter's size, and the modules of each layer it adapts, by the checkpoint's own names."""

    r: int
    alpha: int
    targets: tuple[str, ...]
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.r < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise UserError("lora needs r of at least 1, alpha above 0 and dropout from 0 to below 1")


@dataclass(frozen=True)
class Loss:
    """What is minimised.

    block_length: the segments' size, None for the whole response (Dream). entropy_weight and
    temperature belong to certainty-forcing, consistency_weight to the consistency objective.
    """

    objective: str = "certainty-forcing"
    block_length: int | None = 32
    ratio: float = MASK_RATIO
    entropy_weight: float = 2.0
    temperature: float = 0.5
    consistency_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise UserError(f"objective {self.objective!r} is not one of {', '.join(OBJECTIVES)}")
        if self.block_length is not None and self.block_length < 1:
            raise UserError(f"block_length {self.block_length} must be at least 1")
        if not 0 < self.ratio < 1 or not 0 < self.temperature < math.inf:
            raise UserError("ratio must lie between 0 and 1, and temperature above 0")
        if not all(0 <= weight < math.inf for weight in (self.entropy_weight, self.consistency_weight)):
            raise UserError("entropy_weight and consistency_weight must be finite and not below 0")


@dataclass(frozen=True)
class Evaluation:
    """The few problems decoded after each epoch."""

    tasks: tuple[str, ...]
    strategy: str = "entropy"
    limit: int = 4
    split: str = "test"

    def __post_init__(self) -> None:
        if not self.tasks or self.limit < 1:
            raise UserError("the evaluation section needs tasks and a limit of at least 1")


@dataclass(frozen=True)
class Settings:
    """A distillation's whole recipe; `training` goes to transformers' TrainingArguments as it is."""

    lora: Lora
    data: Canvas
    loss: Loss = field(default_factory=Loss)
    training: dict[str, Any] = field(default_factory=dict)
    evaluation: Evaluation | None = None


T = TypeVar("T")


def _section(kind: type[T], raw: Any, where: str) -> T:
    names = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if not isinstance(raw, dict):
        raise UserError(f"{where}: a mapping with keys of {', '.join(names)} is needed")
    for key in raw:
        if key not in names:
            close = difflib.get_close_matches(str(key), names, 1)
            hint = f", did you mean {close[0]}?" if close else ""
            raise UserError(f"{where}: unknown key {key!r}{hint} (known: {', '.join(names)})")
    needed = [item.name for item in dataclasses.fields(kind) if _needed(item)]  # type: ignore[arg-type]
    absent = [name for name in needed if name not in raw]
    if absent:
        raise UserError(f"{where}: {' and '.join(absent)} missing (known: {', '.join(names)})")
    hints = get_type_hints(kind)
    return kind(**{key: _value(f"{where}: {key}", hints[key], value) for key, value in raw.items()})


def _needed(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _value(where: str, hint: Any, value: Any) -> Any:
    """A YAML value as the annotated type. Raises UserError where it is of another."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    number = as_number(value)
    if (value is None and NoneType in kinds) or (type(value) in kinds and value is not None):
        return value
    if float in kinds and number is not None:
        return float(number)
    if tuple[str, ...] in kinds and isinstance(value, list) and all(isinstance(x, str) for x in value):
        return tuple(value)
    if any(get_origin(kind) is dict for kind in kinds) and isinstance(value, dict):
        return value
    expected = "a list of names" if tuple[str, ...] in kinds else " or ".join(_named(kind) for kind in kinds)
    raise UserError(f"{where} is {value!r}; needed is {expected}")


def _named(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", NoneType: "null"}
    return names.get(kind, "a mapping")


def as_number(value: Any) -> float | None:
    """A number, also one that YAML 1.1 reads as text (1e-3 without a point); None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def read_settings(path: Path) -> Settings:
    """Read a YAML configuration. Raises UserError for bad YAML, unknown keys or bad values."""
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path}: sections lora, loss, data, training, evaluation are expected")
    sections = {"lora": Lora, "data": Canvas, "loss": Loss, "evaluation": Evaluation}
    read = {
        name: _section(sections[name], part, f"{path}, {name}")
        if name in sections and (part is not None or name != "evaluation")
        else part
        for name, part in raw.items()
    }
    return _section(Settings, read, str(path))
