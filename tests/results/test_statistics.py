"""Intervals and tests against published worked examples and exact counts."""

import math

import numpy as np
import pytest
from scipy import stats

from results import statistics
from results.statistics import holm, mcnemar, minimum_detectable, paired_accuracy, paired_ratio, wilson


def test_wilson_against_newcombes_example():
    interval = wilson(15, 148)  # Newcombe 1998, table I: 0.0624 to 0.1605
    assert (interval.low, interval.high) == (pytest.approx(0.0624, abs=1e-4), pytest.approx(0.1605, abs=1e-4))


def test_wilson_at_the_edges():
    assert wilson(0, 10).low == pytest.approx(0, abs=1e-12)
    assert wilson(10, 10).high == pytest.approx(1)
    assert wilson(10, 10).low < 1
    assert math.isnan(wilson(0, 0).value)


def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs():
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(10, 2) == pytest.approx(2 * sum(math.comb(12, k) for k in range(3)) / 2**12)


def test_paired_accuracy_counts_what_changed():
    a = [True] * 50 + [False] * 50
    b = [True] * 40 + [False] * 10 + [True] * 5 + [False] * 45
    found = paired_accuracy(a, b)
    assert (found.n, found.gained, found.lost) == (100, 5, 10)
    assert found.difference.value == pytest.approx(-0.05)
    assert found.difference.low < -0.05 < found.difference.high
    # Bonett and Price: (11, 6) of 102 discordant after one is added to each
    up, down = 6 / 102, 11 / 102
    half = 1.959964 * math.sqrt((up + down - (up - down) ** 2) / 102)
    assert found.difference.low == pytest.approx(up - down - half, abs=1e-6)


def test_pairs_must_match():
    with pytest.raises(ValueError, match="paired"):
        paired_accuracy([True], [True, False])
    assert math.isnan(paired_accuracy([], []).p)


def test_paired_ratio_is_seeded_and_pairs_problems():
    random = np.random.default_rng(1)
    hard = random.uniform(1, 10, 200)
    a, b = (hard, np.ones(200)), (hard * 0.5, np.ones(200))
    found = paired_ratio(a, b)
    assert found == paired_ratio(a, b)
    assert found.value == pytest.approx(0.5)
    assert found.high - found.low < 1e-6  # how hard a problem is cancels


def test_paired_ratio_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        tokens = random.integers(20, 60, 60)
        a, b = random.poisson(30, 60) + 1.0, random.poisson(20, 60) + 1.0
        found = paired_ratio((tokens, a), (tokens, b), resamples=400, seed=seed)
        hits += found.low <= 31 / 21 <= found.high
    assert stats.binomtest(hits, 200, 0.95).pvalue > 0.001


def test_a_ratio_with_anything_missing_is_missing():
    missing = (np.array([1.0, np.nan]), np.ones(2))
    assert math.isnan(paired_ratio(missing, missing).value)
    assert math.isnan(paired_ratio(([], []), ([], [])).value)
    assert math.isnan(paired_ratio(([0.0], [1.0]), ([1.0], [1.0])).value)


def test_holm_against_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    with_gap = holm([0.01, float("nan"), 0.02])
    assert with_gap[0] == pytest.approx(0.02)
    assert math.isnan(with_gap[1])
    assert holm([0.9, 0.8])[0] == 1.0


def test_humaneval_cannot_tell_three_points_apart():
    found = minimum_detectable(164, 0.1)
    assert found.floor == pytest.approx(6 / 164)
    assert found.floor > 0.03
    assert 0.05 < found.expected < 0.09
    sentence = found.sentence("humaneval")
    assert "164 problems" in sentence
    assert "3.7 points cannot be told from chance" in sentence


def test_the_expected_difference_has_the_power_it_claims():
    n, share = 300, 0.2
    delta = minimum_detectable(n, share).expected
    random = np.random.default_rng(0)
    probabilities = [(share + delta) / 2, (share - delta) / 2, 1 - share]
    drawn = random.multinomial(n, probabilities, size=400)
    power = np.mean([mcnemar(int(up), int(down)) < statistics.ALPHA for up, down, _ in drawn])
    assert 0.75 < power < 0.85


@pytest.mark.parametrize(("n", "share"), [(60, 0.3), (100, 0.1), (164, 0.1), (1319, 0.05)])
def test_the_expected_difference_is_the_least_that_has_the_exact_power(n, share):
    """Against the sum over every pair of counts, taken one by one."""
    found = minimum_detectable(n, share)

    def power(delta):
        total = 0.0
        for m in range(n + 1):
            weight = stats.binom.pmf(m, n, share)
            if weight < 1e-7:
                continue
            rejected = [k for k in range(m + 1) if mcnemar(k, m - k) < statistics.ALPHA]
            total += weight * stats.binom.pmf(rejected, m, (1 + delta / share) / 2).sum()
        return total

    assert power(found.expected) == pytest.approx(statistics.POWER, abs=1e-4)
    assert found.expected > found.floor


def test_a_share_that_cannot_reach_the_power_is_given_no_difference():
    """On 100 problems of which 6 differ, even six against none are found in 56 of 100 runs only."""
    assert math.isnan(minimum_detectable(100, 0.06).expected)
    assert statistics.mcnemar_power(100, 0.06, 0.06) == pytest.approx(0.56, abs=0.01)


def test_few_problems_can_show_nothing():
    assert math.isnan(minimum_detectable(5).floor)
    assert "too few" in minimum_detectable(5).sentence("tiny")
    assert math.isnan(minimum_detectable(0).floor)
    assert math.isnan(minimum_detectable(20, 0.05).expected)
