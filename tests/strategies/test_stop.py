"""Where the stop rules cut hand-made predictions (5 is the end of text)."""

import numpy as np
import pytest

from strategies.stop import EndOfTextPrediction, FullLength

LENGTH = 6
NOTHING = np.zeros((1, LENGTH), bool)


def at(*positions):
    mask = NOTHING.copy()
    mask[0, list(positions)] = True
    return mask


@pytest.fixture
def cut(propose):
    """`cut(rule, predictions, ...)`: the columns that remain of one row."""

    def run(rule, predictions, transfer=NOTHING, vouched=None, **facts):
        return rule.cut(propose(predictions, gen_length=LENGTH, **facts), transfer, vouched).tolist()

    return run


def test_the_full_length_is_never_cut(propose):
    assert not FullLength().reads_tail
    assert FullLength().cut(propose([(0.9, 5)]), at(0), None) is None


PREDICTED = [(0.9, 1), (0.6, 5), (0.9, 2), (0.8, 5), (0.7, 5), (0.9, 3)]


def test_predicted_cuts_behind_the_most_confident_end_of_text(cut):
    rule = EndOfTextPrediction()
    assert rule.reads_tail
    assert cut(rule, PREDICTED) == [4]
    assert cut(rule, PREDICTED, transfer=at(0, 1)) == [4], "what is committed does not matter"
    assert cut(rule, [(0.9, 1)] * 6) == [LENGTH]
    assert cut(rule, [(0.6, 5), *PREDICTED[2:], (0.8, 5)]) == [3], "of equals the first"


def test_predicted_looks_at_masked_positions_of_the_tail_too(cut):
    masked = [[True, True, True, False, True, True]]
    block = [[True, True, False, False, False, False]]
    assert cut(EndOfTextPrediction(), PREDICTED, masked=masked, eligible=block) == [5]


def test_an_end_that_the_rule_vouches_for_comes_first(cut):
    rule = EndOfTextPrediction()
    assert cut(rule, PREDICTED, vouched=at(0, 1, 4)) == [2]
    assert cut(rule, PREDICTED, vouched=at(4)) == [5]
    assert cut(rule, PREDICTED, vouched=at(0, 2)) == [4], "no end of text among the vouched ones"


def test_committed_cuts_behind_the_first_committed_end_of_text(cut):
    rule = EndOfTextPrediction(trigger="committed")
    assert not rule.reads_tail
    assert cut(rule, PREDICTED, transfer=at(0, 4, 1)) == [2]
    assert cut(rule, PREDICTED, transfer=at(3)) == [4]
    assert cut(rule, PREDICTED, transfer=at(0, 2)) == [LENGTH]


def test_an_end_of_turn_is_no_end_of_text(cut):
    assert cut(EndOfTextPrediction(), [(0.9, 6)] * 6) == [LENGTH]


def test_rows_are_cut_on_their_own(propose):
    p = propose([PREDICTED, [(0.9, 1)] * 6, [(0.9, 5), (0.95, 5), None, None, None, None]], gen_length=LENGTH)
    assert EndOfTextPrediction().cut(p, NOTHING.repeat(3, 0), None).tolist() == [4, LENGTH, 2]
