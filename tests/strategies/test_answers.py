"""A part that answers what cannot be decoded with is named, with what it answered."""

import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from strategies import PartError, UnmaskRule, answers
from strategies.unmask import Confidence

CONFIDENCES = [0.2, 0.9, 0.4, 0.3]


@dataclass(frozen=True)
class Mine(UnmaskRule):
    """Answers what it is told to."""

    scores: object = None
    admits: object = None

    def score(self, p):
        return p.confidence if self.scores is None else self.scores

    def admit(self, p, score):
        return score >= 0.5 if self.admits is None else self.admits


@dataclass(frozen=True)
class Vouching(Confidence):
    """Believes in what is eligible, or answers what it is told to."""

    vouches: object = None

    def vouched(self, p):
        return p.eligible if self.vouches is None else self.vouches


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"admits": None}, None),
        ({"admits": np.ones(4, bool)}, "admit() answers bool of shape [4], not bool of shape [1, 4]"),
        ({"admits": np.ones((1, 1), bool)}, "admit() answers bool of shape [1, 1]"),
        ({"admits": True}, "admit() answers bool of shape []"),
        ({"admits": np.full((1, 4), 2)}, "admit() answers int64 of shape [1, 4], not bool"),
        ({"admits": np.ones((1, 4))}, "admit() answers float64"),
        ({"admits": "all"}, "admit() answers <U3"),
        ({"scores": np.ones((4, 1))}, "score() answers float64 of shape [4, 1], not float64 of shape [1, 4]"),
        ({"scores": "high"}, "score() answers <U4"),
        ({"scores": np.array([[1.0, 2.0, np.nan, 0.0]])}, "score() answers NaN"),
        ({"scores": torch.ones(1, 4, dtype=torch.bfloat16)}, "score() answers no array"),
        ({"scores": torch.ones(1, 4), "admits": torch.ones(1, 4, dtype=torch.bool)}, None),
        ({"scores": [[1, 2, 3, 4]], "admits": [[True, False, False, False]]}, None),
    ],
)
def test_what_a_rule_answers_is_looked_at(propose, answer, says):
    p = propose(CONFIDENCES, rule=Mine(**answer))
    if says is None:
        assert Mine(**answer).transfer_index(p).any()
        return
    with pytest.raises(PartError, match=r"Mine\." + re.escape(says)):
        Mine(**answer).transfer_index(p)


def test_a_nan_score_where_nothing_is_eligible_does_not_matter(propose):
    p = propose(CONFIDENCES, eligible=[[True, True, False, True]])
    rule = Mine(scores=np.array([[0.1, 0.9, np.nan, 0.2]]))
    assert rule.transfer_index(p).tolist() == [[False, True, False, False]]


def test_what_a_rule_sees_cannot_be_changed(propose):
    for confidences in (CONFIDENCES, [[0.2, None], [0.4, 0.9]]):
        p = propose(confidences, rule=Vouching())
        for name in ("tokens", "best", "confidence", "entropy", "margin", "eligible", "masked", "vouched"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(p, name)[:] = 0
        for name in ("index", "step", "entered", "offset", "width"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(p, name)[:] = 0


def test_what_a_rule_vouches_for_is_looked_at(propose):
    assert propose(CONFIDENCES, rule=Confidence()).vouched is None
    with pytest.raises(PartError, match=r"Vouching\.vouched\(\) answers bool of shape \[4\]"):
        _ = propose(CONFIDENCES, rule=Vouching(vouches=np.ones(4, bool))).vouched


def test_a_models_nan_is_not_the_rules(propose):
    """The rule is not asked; the loop names the model."""
    p = propose([[0.2, 0.9]], rule=Mine(admits="never asked for"))
    p.predictions.logits[0] = torch.nan
    assert Mine(admits="never asked for").transfer_index(p).tolist() == [[True, True]]


def test_random_numbers_have_to_be_asked_for(propose):
    with pytest.raises(PartError, match="random = True"):
        _ = propose(CONFIDENCES).uniform


@pytest.mark.parametrize("value", [np.ones((2, 1), int), np.ones(2), [1, 0], [3, -1], 3, [1]])
def test_what_a_stop_answers_is_looked_at(value):
    with pytest.raises(PartError, match=r"Confidence\.cut\(\) "):
        answers.kept(Confidence(), value, 2)
    assert answers.kept(Confidence(), [1, 9], 2).tolist() == [1, 9]


@pytest.mark.parametrize("value", [None, 3, (0, 1.5), (1, 2, 3), (-1, 4), (4, 4), (5, 2), (0, 11), "ab"])
def test_what_a_cache_answers_is_looked_at(value):
    with pytest.raises(PartError, match=r"Confidence\.span\(\) answers "):
        answers.span(Confidence(), value, 10)
    assert answers.span(Confidence(), (np.int64(0), 10), 10) == (0, 10)


@pytest.mark.parametrize("value", [(20,), (-1,), (1.5,), None, ("a",)])
def test_special_tokens_are_of_the_vocabulary(value):
    with pytest.raises(PartError, match=r"Confidence\.banned\(\) answers .*token ids"):
        answers.tokens(Confidence(), "banned", value, 20)
    assert answers.tokens(Confidence(), "banned", [0, 19], 20) == (0, 19)
