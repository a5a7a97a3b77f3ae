"""The proposal's statistics against their definitions, in every precision, and the row's arithmetic."""

import math

import numpy as np
import pytest
import torch

from strategies import CacheRule, Row, SpecError, StopRule, UnmaskRule, parse
from strategies.cache import DualCache, NoCache, PrefixCache
from strategies.predictions import in_one_copy
from strategies.stop import EndOfTextPrediction, FullLength
from strategies.unmask import FixedSteps

DISTRIBUTIONS = [
    (0.5, 0.25, 0.125, 0.0625, 0.03125, 0.03125, 0.0, 0.0),
    (0.1, 0.6, 0.1, 0.05, 0.05, 0.05, 0.05, 0.0),
    (0.125,) * 8,
    (*[1e-9] * 7, 1 - 7e-9),  # the mask token itself is the likeliest
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_are_those_of_the_softmax(propose, dtype):
    p = propose(DISTRIBUTIONS, dtype=dtype)
    exact = 1e-6 if dtype == torch.float32 else 1e-12
    top = [sorted(row, reverse=True) for row in DISTRIBUTIONS]
    assert p.tokens.tolist() == [[0, 1, 0, 0]]
    expected = {
        "confidence": [0.5, 0.6, 0.125, 1e-9],
        "entropy": [-sum(q * math.log(q) for q in row if q) for row in DISTRIBUTIONS],
        "margin": [first - second for first, second, *_ in top],
    }
    for name, values in expected.items():
        found = getattr(p, name)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found[0], values, atol=exact, rtol=exact)


@pytest.mark.parametrize("first", ["entropy", "confidence"])
def test_statistics_taken_in_parts_and_in_any_order_are_the_same(propose, monkeypatch, first):
    at_once = propose(DISTRIBUTIONS)
    monkeypatch.setattr("strategies.predictions.SCANNED", 17)  # two rows of eight at a time
    in_parts = propose(DISTRIBUTIONS)
    getattr(in_parts, first)
    for name in ("tokens", "confidence", "entropy", "margin"):
        assert np.array_equal(getattr(in_parts, name), getattr(at_once, name))


def test_bfloat16_logits_give_the_statistics_of_their_float32_values(propose):
    narrow, wide = propose(DISTRIBUTIONS, dtype=torch.bfloat16), propose(DISTRIBUTIONS, dtype=torch.float32)
    wide.predictions.logits.copy_(narrow.predictions.logits)
    for name in ("tokens", "confidence", "entropy", "margin"):
        assert np.array_equal(getattr(narrow, name), getattr(wide, name))


def test_a_confidence_near_one_keeps_its_distance_from_one(propose):
    """In float32 a softmax rounds to 1; what a threshold of 0.9999999 must tell apart is 1 - confidence."""
    for rest in (1e-6, 1e-8):
        logits = [math.log(1 - rest), *[math.log(rest / 7)] * 7]
        p = propose([1.0], dtype=torch.float32)
        p.predictions.logits.copy_(torch.tensor([logits]))
        assert 1 - p.confidence.item() == pytest.approx(rest, rel=1e-4)


def test_positions_that_are_not_read_have_no_statistics(propose):
    p = propose([[0.9, None, 0.5], [None, 0.8]])
    assert p.tokens.tolist() == [[1, -1, 1], [-1, 1, -1]]
    np.testing.assert_allclose(p.confidence, [[0.9, 0, 0.5], [0, 0.8, 0]])


def test_a_banned_token_has_no_probability_and_a_muted_one_no_confidence(propose):
    likely_end = (0.2, 0.1, 0.05, 0.05, 0.0, 0.4, 0.2, 0.0)
    banned = propose([likely_end], rule=FixedSteps(eos="banned"))
    assert banned.tokens.item() == 0
    assert banned.confidence.item() == pytest.approx(0.2 / 0.6)
    muted = propose([likely_end], rule=FixedSteps(eos="last"))
    assert muted.tokens.item() == 5
    assert muted.confidence.item() == 0
    in_the_order_rules_may_ask = propose([likely_end], rule=FixedSteps(eos="last"))
    assert in_the_order_rules_may_ask.entropy.item() > 0
    assert in_the_order_rules_may_ask.tokens.item() == 5


def test_sampled_tokens_keep_their_untempered_confidence(propose):
    noise = torch.zeros(1, 8, dtype=torch.float64)
    noise[0, 2], noise[0, 7] = 50.0, 90.0
    p = propose([(0.5, 0.3, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0)], temperature=0.5, noise=lambda kind, width: noise)
    assert p.tokens.item() == 2
    assert p.confidence.item() == pytest.approx(0.2)


def test_a_rows_block_ends_with_the_row():
    row = Row(sample=0, slot=0, start=3, end=13, block_length=4, block=11)
    assert row.block_end == 13
    row.end = 12
    assert row.block_end == 12
    assert not row.finished
    row.block = 12
    assert row.finished


def test_a_rule_without_admit_says_so(propose):
    with pytest.raises(SpecError, match=r"UnmaskRule defines no admit"):
        UnmaskRule().transfer_index(propose([0.5]))


class Unwilling(UnmaskRule):
    """Wants nothing committed."""

    def score(self, p):
        return np.full(p.eligible.shape, -np.inf)

    def admit(self, p, score):
        return np.zeros(score.shape, bool)


def test_a_rule_that_wants_nothing_commits_the_first_eligible_position(chosen):
    eligible = [[False, False, True, True], [False] * 4]
    assert chosen(Unwilling(), [[0.9] * 4] * 2, eligible=eligible, masked=[[True] * 4] * 2) == [
        [2],
        [],
    ]


@pytest.mark.parametrize(
    "spec",
    ["fixed", "fixed:remasking=margin", "fixed:remasking=entropy", "confidence", "factor+eotp", "entropy"],
)
def test_everything_comes_from_the_device_at_once(propose, spec):
    assert copies(propose, parse(spec)) == 1


def test_the_oracle_too_brings_everything_at_once(propose):
    assert copies(propose, parse("oracle"), references=torch.tensor([0, 1, 2, 3])) == 1


def copies(propose, made, **more):
    """How often a step of the strategy asks the device for something."""
    brought, p = [], propose(DISTRIBUTIONS, rule=made.unmask, **more)
    measure = p.predictions.measure
    p.predictions.measure = lambda names: brought.append(names) or measure(names)
    transfer = made.unmask.transfer_index(p)
    made.stop.cut(p, transfer, p.vouched)
    assert p.tokens.shape == p.confidence.shape
    return len(brought)


def test_one_copy_keeps_types_values_and_order():
    ids, p = torch.tensor([126463, 0, -1]), torch.tensor([0.1, 1 - 1e-16, 0.0], dtype=torch.float64)
    found = in_one_copy([p, ids, p * 2])
    assert [array.dtype for array in found] == [np.float64, np.int64, np.float64]
    assert [array.tolist() for array in found] == [p.tolist(), ids.tolist(), (p * 2).tolist()]


def test_noise_is_drawn_for_the_ranks_before_it_is_for_the_tokens(propose):
    drawn = []

    def noise(kind, width):
        drawn.append((kind, width))
        return torch.zeros(4, width, dtype=torch.float64)

    p = propose(DISTRIBUTIONS, rule=FixedSteps(remasking="random"), temperature=0.7, noise=noise)
    assert p.uniform.tolist() == [[0.0] * 4]
    assert p.confidence.shape == (1, 4)
    assert drawn == [("uniform", 1), ("gumbel", 8)]


def test_the_parts_keep_their_protocols():
    caches: list[CacheRule] = [NoCache(), PrefixCache(), DualCache()]
    stops: list[StopRule] = [FullLength(), EndOfTextPrediction()]
    assert [cache.keeps_kv for cache in caches] == [False, True, True]
    assert [stop.reads_tail for stop in stops] == [False, True]
