"""Expands `--sweep confidence:threshold=0.5..0.95/6` into the specs of its settings."""

from __future__ import annotations

import itertools
import re

from harness.errors import UserError
from strategies.registry import normal

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"(?<==)({_NUMBER})\.\.({_NUMBER})/(\d+)(?=[,+@]|$)")
_MOST = 100


def expand(text: str) -> list[str]:
    """The specs of a sweep: each `key=LOW..HIGH/COUNT` takes COUNT evenly spaced values, both ends included.

    Several ranges give every combination, the last one varying fastest. Values are whole numbers where both
    ends are written as such (rounded, each once).

    Raises:
        UserError: no range in the text, a count under 2, ends in the wrong order, or over 100 settings.
    """
    text = normal(text)
    found = list(_RANGE.finditer(text))
    if not found or ".." in _RANGE.sub("", text):
        raise UserError(
            f"--sweep {text!r} is not a spec with key=LOW..HIGH/COUNT in it,"
            " as in confidence:threshold=0.5..0.95/6"
        )
    axes = [_values(text, *match.groups()) for match in found]
    total = 1
    for axis in axes:
        total *= len(axis)
    if total > _MOST:
        raise UserError(f"--sweep {text!r} has {total} settings; at most {_MOST} are run")
    specs = []
    for values in itertools.product(*axes):
        chosen = iter(values)
        specs.append(_RANGE.sub(lambda _, chosen=chosen: next(chosen), text))  # type: ignore[misc]
    return specs


def _values(text: str, low: str, high: str, count: str) -> list[str]:
    start, stop, number = float(low), float(high), int(count)
    if number < 2 or start >= stop:
        raise UserError(f"--sweep {text!r}: {low}..{high}/{count} needs a rising range and at least 2 values")
    if number > _MOST:
        raise UserError(f"--sweep {text!r} has {number} settings; at most {_MOST} are run")
    points = [start + (stop - start) * i / (number - 1) for i in range(number)]
    if re.fullmatch(r"[+-]?\d+", low) and re.fullmatch(r"[+-]?\d+", high):
        return list(dict.fromkeys(str(round(point)) for point in points))
    return [f"{point:.6g}" for point in points]
