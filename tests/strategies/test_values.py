"""Spec values: step counts and ranges."""

import dataclasses

import pytest

from strategies import SpecError
from strategies.values import Steps, choice, describe_range, number, read_value


@dataclasses.dataclass
class Sample:
    level: float = number(0.5, least=0.0, below=1.0)
    count: int = 3
    kind: str = choice("first", "second")
    path: str | None = None
    steps: Steps | None = None


FIELDS = {field.name: field for field in dataclasses.fields(Sample)}


def test_defaults():
    assert Sample() == Sample(0.5, 3, "first", None, None)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("level", "0", 0.0),
        ("level", "1e-3", 0.001),
        ("count", "7", 7),
        ("count", "9" * 400, int("9" * 400)),
        ("kind", "second", "second"),
        ("path", "a/b", "a/b"),
        ("steps", "1/4", Steps.parse("1/4")),
    ],
)
def test_values_are_read_by_their_fields_type(key, text, value):
    assert read_value("part", FIELDS[key], text) == value


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("level", "1", r"part: level=1 is out of range: at least 0 and below 1"),
        ("level", "inf", "not a finite number"),
        ("level", "", "not a number"),
        ("count", "1.5", "not a number"),
        ("kind", "third", "not one of first, second"),
        ("path", "", "has no value"),
        ("steps", "many", "neither a positive whole number nor a fraction"),
    ],
)
def test_bad_values_name_key_and_range(key, text, says):
    with pytest.raises(SpecError, match=says):
        read_value("part", FIELDS[key], text)


@pytest.mark.parametrize("text", ["0", "-4", "1.5", "5/4", "0/4", "1/0", "x", ""])
def test_steps_that_are_none(text):
    with pytest.raises(SpecError, match="neither"):
        Steps.parse(text)


def test_steps_count_and_print():
    assert Steps.parse("12").count(1000) == 12
    assert Steps.parse("1/4").count(128) == 32
    assert Steps.parse("2/3").count(10) == 6
    assert Steps.parse("1/1").count(10) == 10
    for text in ("12", "1/4"):
        assert str(Steps.parse(text)) == text
    assert Steps.parse(str(Steps.parse("1/1"))).count(10) == 10


def test_ranges_in_words():
    inf = float("inf")
    assert describe_range(0, 1, -inf, inf) == "at least 0 and at most 1"
    assert describe_range(-inf, inf, 0, 2) == "above 0 and below 2"
    assert describe_range(-inf, inf, -inf, inf) == "a finite number"
