"""The settings of a distillation, read from a YAML file into frozen values; unknown keys are errors."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

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
        if not 0 < self.ratio < 1 or self.temperature <= 0:
            raise UserError("ratio must lie between 0 and 1, and temperature above 0")


@dataclass(frozen=True)
class Evaluation:
    """The few problems decoded after each epoch."""

    tasks: tuple[str, ...]
    strategy: str = "entropy"
    limit: int = 4
    split: str = "test"


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
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise UserError(f"{where}: {error}") from error


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
        if name in sections and part is not None
        else part
        for name, part in raw.items()
    }
    return _section(Settings, read, str(path))
