"""Typed values of spec keys: ranges, choices and step counts, checked when a rule is built."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from strategies.errors import SpecError

KINDS = {"float", "int", "bool", "str", "Steps"}  # that `read_value` reads


@dataclass(frozen=True)
class Steps:
    """A number of forwards: an absolute count, or a fraction of the generation length (`1/4`)."""

    value: Fraction
    relative: bool

    @classmethod
    def parse(cls, text: str) -> Steps:
        """Read `64` or `1/4`. Raises SpecError for anything else."""
        try:
            value = Fraction(text) if re.fullmatch(r"[0-9]{1,9}(/[0-9]{1,9})?", text) else Fraction(0)
        except ZeroDivisionError:
            value = Fraction(0)
        relative = "/" in text
        if value <= 0 or (relative and value > 1) or (not relative and value.denominator != 1):
            raise SpecError(
                f"steps={text} is neither a positive whole number nor a fraction of the length (1/4)"
            )
        return cls(value, relative)

    def count(self, gen_length: int) -> int:
        """Forwards for a region of `gen_length` tokens."""
        return max(1, int(self.value * gen_length)) if self.relative else int(self.value)

    def __str__(self) -> str:
        return f"{self.value.numerator}/{self.value.denominator}" if self.relative else str(self.value)


def number(
    default: float,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> Any:
    """A dataclass field holding a float of the given range."""
    return dataclasses.field(
        default=default, metadata={"least": least, "most": most, "above": above, "below": below}
    )


def choice(*options: str) -> Any:
    """A dataclass field holding one of `options`, the first by default."""
    return dataclasses.field(default=options[0], metadata={"options": options})


def readable(spec_field: dataclasses.Field[Any]) -> bool:
    """Whether `read_value` knows how to read the field."""
    words = _types(spec_field) - {"class", "strategies", "values", "typing", "Optional", "None", "NoneType"}
    return "options" in spec_field.metadata or (bool(words) and words <= KINDS)


def _types(spec_field: dataclasses.Field[Any]) -> set[str]:
    """The words of the field's annotation, which may be a class or its text."""
    return set(re.findall(r"\w+", str(spec_field.type)))


def read_value(name: str, spec_field: dataclasses.Field[Any], text: str) -> Any:
    """The value of `text` for a field of the part `name`. Raises SpecError naming key, value and range."""
    key, meta = spec_field.name, spec_field.metadata
    types = _types(spec_field)
    where = f"{name}: {key}={text}"
    if "options" in meta:
        if text not in meta["options"]:
            raise SpecError(f"{where} is not one of {', '.join(meta['options'])}")
        return text
    if "Steps" in types:
        return Steps.parse(text)
    if "bool" in types:
        if text.lower() not in ("true", "false"):
            raise SpecError(f"{where} is not true or false")
        return text.lower() == "true"
    if types & {"float", "int"}:
        try:
            value = float(text) if "float" in types else int(text)
        except ValueError:
            raise SpecError(f"{where} is not a number") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise SpecError(f"{where} is not a finite number")
        low, high = meta.get("least", -math.inf), meta.get("most", math.inf)
        above, below = meta.get("above", -math.inf), meta.get("below", math.inf)
        if not (low <= value <= high and above < value < below):
            raise SpecError(f"{where} is out of range: {describe_range(low, high, above, below)}")
        return value
    if not text:
        raise SpecError(f"{where} has no value")
    return text


def describe_range(low: float, high: float, above: float, below: float) -> str:
    """The range in words, for error messages."""
    bounds = [
        f"at least {low:g}" if low > -math.inf else "",
        f"above {above:g}" if above > -math.inf else "",
        f"at most {high:g}" if high < math.inf else "",
        f"below {below:g}" if below < math.inf else "",
    ]
    return " and ".join(bound for bound in bounds if bound) or "a finite number"
