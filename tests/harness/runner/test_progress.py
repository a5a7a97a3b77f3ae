"""The time left is what the rates so far say, and how many strategies have none yet."""

import pytest

from harness.progress import Estimate, clock


def test_nothing_is_claimed_before_anything_is_measured():
    assert Estimate({("fixed", "a"): 10.0}).left() is None


def test_an_unmeasured_strategy_counts_as_the_measured_ones_do_on_the_mean():
    estimate = Estimate({("fixed", "a"): 10.0, ("fast", "a"): 10.0, ("other", "a"): 10.0})
    estimate.update(("fixed", "a"), 5.0, 10.0)
    assert estimate.left() == (10.0 + 20.0 + 20.0, 2)
    estimate.update(("fast", "a"), 10.0, 5.0)
    assert estimate.left() == (pytest.approx(10.0 + 10 * (2.0 + 0.5) / 2), 1)
    estimate.update(("other", "a"), 2.0, 1.0)
    assert estimate.left() == (pytest.approx(10.0 + 8 * 0.5), 0)


def test_another_suite_is_foreseen_at_the_strategys_own_rate():
    estimate = Estimate({("fixed", "a"): 4.0, ("fast", "a"): 4.0, ("fast", "b"): 4.0})
    estimate.update(("fixed", "a"), 4.0, 40.0)
    estimate.update(("fast", "a"), 4.0, 4.0)
    assert estimate.left() == (4.0, 0)


@pytest.mark.parametrize(("seconds", "text"), [(3.4, "3 s"), (65, "1:05"), (3600 + 125, "1:02:05")])
def test_clock(seconds, text):
    assert clock(seconds) == text
