"""Sweeps expand to evenly spaced specs that the spec grammar reads."""

import pytest

from harness.errors import UserError
from harness.sweep import expand
from strategies import parse


def test_both_ends_and_even_steps():
    specs = expand("confidence:threshold=0.5..0.95/6")
    assert specs == [
        f"confidence:threshold={value}" for value in ("0.5", "0.59", "0.68", "0.77", "0.86", "0.95")
    ]
    assert len({parse(spec).spec for spec in specs}) == 6


def test_parts_beside_the_range_stay():
    assert expand("entropy:threshold=.1..1/2+dual-cache@dparallel") == [
        "entropy:threshold=0.1+dual-cache@dparallel",
        "entropy:threshold=1+dual-cache@dparallel",
    ]


def test_whole_numbers_stay_whole_and_are_not_repeated():
    assert expand("fixed:steps=2..4/5") == ["fixed:steps=2", "fixed:steps=3", "fixed:steps=4"]


def test_two_ranges_give_every_combination():
    assert len(expand("learn2pd:threshold=0.9..0.98/3,steps=8..16/2")) == 6


@pytest.mark.parametrize(
    "text",
    [
        "confidence",
        "confidence:threshold=0.5..0.9",
        "confidence:threshold=0.9..0.5/3",
        "confidence:threshold=0.5..0.9/1",
        "confidence:threshold=0.5..0.9/3x",
        "confidence:threshold=0.5..0.9/100000",
        "learn2pd:threshold=0.1..0.9/20,steps=1..90/20",
    ],
)
def test_what_is_no_sweep_is_named(text):
    with pytest.raises(UserError, match="--sweep"):
        expand(text)
