"""Interval estimates and paired tests that say which differences between strategies are real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POWER = 0.80
RESAMPLES = 2000
SEED = 0


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided bounds; all NaN where nothing was measured."""

    value: float
    low: float
    high: float


NOTHING = Interval(float("nan"), float("nan"), float("nan"))


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """A proportion with Wilson's score interval, which stays inside 0..1 and is sound for small n."""
    if n == 0:
        return NOTHING
    bounds = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Interval(successes / n, float(bounds.low), float(bounds.high))


@dataclass(frozen=True)
class PairedAccuracy:
    """Accuracy of b against a on the same problems.

    `gained` counts problems that only b has right, `lost` those that only a has right; `difference` is b
    minus a with the Bonett-Price interval; `p` is the two-sided exact McNemar test.
    """

    n: int
    gained: int
    lost: int
    difference: Interval
    p: float


def paired_accuracy(a: ArrayLike, b: ArrayLike) -> PairedAccuracy:
    """Compare two strategies' verdicts on the same problems, in the same order.

    The interval is Bonett and Price's (2012) for paired proportions: one problem is added to each discordant
    cell, which keeps it honest when few problems differ.
    """
    first, second = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    if first.shape != second.shape:
        raise ValueError(f"{first.size} verdicts cannot be paired with {second.size}")
    n = first.size
    if n == 0:
        return PairedAccuracy(0, 0, 0, NOTHING, float("nan"))
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = stats.norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    bounds = Interval((gained - lost) / n, max(-1.0, up - down - half), min(1.0, up - down + half))
    return PairedAccuracy(n, gained, lost, bounds, mcnemar(gained, lost))


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact McNemar p-value from the two discordant counts; 1 where no problem differs."""
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost, 0.5).pvalue)


def paired_ratio(
    a: tuple[ArrayLike, ArrayLike],
    b: tuple[ArrayLike, ArrayLike],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """Ratio of two ratios of sums, b over a, with a percentile bootstrap interval over problems.

    `a` and `b` are (numerators, denominators) in one entry a problem, in the same order: tokens and forwards
    for TPF, tokens and seconds for TPS, forwards and ones for NFE. The same problems are drawn for both, so
    what a hard problem costs either of them cancels.
    """
    columns = np.asarray([*a, *b], dtype=np.float64)
    if columns.size == 0 or not np.isfinite(columns).all():
        return NOTHING
    drawn = _draws(columns.shape[1], resamples, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = _ratio_of_ratios(drawn @ columns.T.astype(np.float32))
        value = float(_ratio_of_ratios(columns.sum(axis=1)[None])[0])
    ratios = ratios[np.isfinite(ratios)]
    if not np.isfinite(value) or ratios.size == 0:
        return NOTHING
    low, high = np.quantile(ratios, [ALPHA / 2, 1 - ALPHA / 2])
    return Interval(value, float(low), float(high))


@lru_cache(maxsize=4)
def _draws(n: int, resamples: int, seed: int) -> np.ndarray:
    """`[resamples, n]` how often each of n problems is drawn; kept, as a task's strategies share them."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float32)


def _ratio_of_ratios(sums: np.ndarray) -> np.ndarray:
    """`[R, 4]` sums (a's numerator and denominator, then b's) to `[R]` values of b over a."""
    return (sums[:, 2] / sums[:, 3]) / (sums[:, 0] / sums[:, 1])


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment for testing many strategies against one baseline; NaN entries stay NaN."""
    adjusted = [float("nan")] * len(p_values)
    known = sorted((p, i) for i, p in enumerate(p_values) if not np.isnan(p))
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True)
class Detectable:
    """What differences in accuracy a set of n paired problems can show, as fractions from 0 to 1.

    `floor`: the least difference that can reach p < 0.05 at all, when every differing problem differs the
    same way. `expected`: the least that is found in four of five runs when the share `discordance` of the
    problems differs.
    """

    n: int
    floor: float
    expected: float
    discordance: float

    def sentence(self, name: str) -> str:
        """The same in words, for a table's foot."""
        text = f"{name} ({self.n} problems): "
        if not np.isfinite(self.floor):
            return text + "too few to tell any difference from chance."
        text += f"differences under {100 * self.floor:.1f} points cannot be told from chance"
        if np.isfinite(self.expected):
            text += (
                f"; with {100 * self.discordance:.0f} % of the problems answered differently, "
                f"it takes {100 * self.expected:.1f} points to be found four times in five"
            )
        return text + "."


def minimum_detectable(n: int, discordance: float = float("nan")) -> Detectable:
    """The minimum detectable accuracy difference of a paired comparison on n problems (see `Detectable`).

    `expected` is the least difference at which the exact test, whose power `mcnemar_power` sums, has the
    power of four in five; NaN where it has less even if every differing problem differs the same way.
    """
    if n == 0:
        return Detectable(0, float("nan"), float("nan"), discordance)
    least = next((k for k in range(1, n + 1) if mcnemar(k, 0) < ALPHA), None)
    floor = float("nan") if least is None else least / n
    if not np.isfinite(discordance) or discordance <= 0:
        return Detectable(n, floor, float("nan"), discordance)
    low, high = 0.0, float(discordance)
    if mcnemar_power(n, discordance, high) < POWER:
        return Detectable(n, floor, float("nan"), discordance)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if mcnemar_power(n, discordance, middle) < POWER else (low, middle)
    return Detectable(n, floor, high, discordance)


def mcnemar_power(n: int, discordance: float, difference: float) -> float:
    """The chance that the exact two-sided McNemar test on n pairs reaches p < 0.05.

    A pair differs with probability `discordance`, and one side's share less the other's is `difference`: the
    sum over how many pairs may differ, of the chance of so many and of the test's verdict given that.
    """
    differing = np.arange(n + 1)
    weight = stats.binom.pmf(differing, n, discordance)
    differing, weight = differing[weight > 1e-9], weight[weight > 1e-9]
    side = (1 + difference / discordance) / 2
    least = stats.binom.ppf(ALPHA / 2, differing, 0.5)  # the fewest of one side that do not reject
    rejects = stats.binom.cdf(least - 1, differing, side) + stats.binom.sf(differing - least, differing, side)
    return float((weight * rejects).sum())
