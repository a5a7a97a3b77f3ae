"""What the parts of a strategy may answer: checked, since a plug-in's mistake would decode on unseen."""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import numpy as np

from strategies.errors import PartError


def admitted(part: object, method: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """`value` as a [B, W] bool array. Raises PartError for anything else."""
    found = _array(part, method, value)
    if found.shape != shape or found.dtype != bool:
        raise PartError(_unlike(part, method, found, "bool", shape))
    return found


def scored(part: object, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """`value` as a [B, W] float64 array. Raises PartError for anything else."""
    found = _array(part, "score", value)
    if found.shape != shape or found.dtype.kind not in "fiu":
        raise PartError(_unlike(part, "score", found, "float64", shape))
    return found.astype(np.float64, copy=False)


def kept(part: object, value: Any, rows: int) -> np.ndarray:
    """`value` as a [B] array of numbers of columns to keep, each at least 1. Raises PartError otherwise."""
    found = _array(part, "cut", value)
    if found.shape != (rows,) or found.dtype.kind not in "iu":
        raise PartError(_unlike(part, "cut", found, "int64", (rows,)))
    if (found < 1).any():
        raise PartError(f"{_name(part, 'cut')} keeps {found.min()} columns; keep at least 1")
    return found


def span(part: object, value: Any, end: int) -> tuple[int, int]:
    """`value` as first and one past the last of the columns [0, end). Raises PartError for anything else."""
    try:
        first, last = map(operator.index, value)
    except (TypeError, ValueError):
        raise PartError(f"{_name(part, 'span')} answers {value!r}, not two whole numbers") from None
    if not 0 <= first < last <= end:
        raise PartError(f"{_name(part, 'span')} answers ({first}, {last}), not columns between 0 and {end}")
    return first, last


def tokens(part: object, method: str, value: Collection[int], vocabulary: int) -> tuple[int, ...]:
    """`value` as token ids below `vocabulary`. Raises PartError for anything else."""
    try:
        found = tuple(map(operator.index, value))
    except TypeError:
        raise PartError(f"{_name(part, method)} answers {value!r}, not token ids") from None
    if any(not 0 <= token < vocabulary for token in found):
        raise PartError(f"{_name(part, method)} answers {found}, not token ids below {vocabulary}")
    return found


def _array(part: object, method: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PartError(f"{_name(part, method)} answers no array: {error}") from error


def _unlike(part: object, method: str, found: np.ndarray, dtype: str, shape: tuple[int, ...]) -> str:
    return (
        f"{_name(part, method)} answers {found.dtype} of shape {list(found.shape)},"
        f" not {dtype} of shape {list(shape)}"
    )


def _name(part: object, method: str) -> str:
    return f"{type(part).__name__}.{method}()"
