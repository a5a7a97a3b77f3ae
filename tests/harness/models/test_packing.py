"""A step's packing: tokens, columns and store places of rows of any widths, laid end to end."""

import numpy as np
import torch

from harness.models.packing import Segment, pack

CPU = torch.device("cpu")
CANVAS = np.arange(30).reshape(3, 10)


def packed(*segments, store=10, read=(0,), extras=()):
    return pack(CANVAS, [Segment(*s) for s in segments], np.array(read), store, CPU, extras)


def test_rows_are_laid_end_to_end():
    step, _ = packed((0, 2, 4, 6), (2, 0, 3, 9), read=[1, 4])
    assert step.tokens.tolist() == [2, 3, 20, 21, 22]
    assert step.columns.tolist() == [2, 3, 0, 1, 2]
    assert step.at.tolist() == [2, 3, 20, 21, 22]
    assert step.read.tolist() == [1, 4]
    assert not step.uniform


def test_without_a_store_there_are_no_places():
    step, _ = packed((0, 0, 4, 4), (1, 0, 4, 4), store=None)
    assert step.at is None
    assert step.uniform
    assert step.key_mask is None


def test_rows_of_one_width_in_consecutive_slots_attend_in_one_batch():
    step, _ = packed((1, 2, 4, 6), (2, 5, 7, 9))
    assert step.uniform
    assert step.key_mask.shape == (2, 1, 1, 9)
    assert step.key_mask[:, 0, 0].sum(1).tolist() == [6, 9]
    assert step.key_mask[0, 0, 0].tolist() == [True] * 6 + [False] * 3


def test_rows_of_equal_keys_need_no_mask():
    assert packed((0, 2, 4, 6), (1, 3, 5, 6))[0].key_mask is None


def test_gaps_between_slots_and_unequal_rows_are_attended_row_by_row():
    assert not packed((0, 2, 4, 6), (2, 2, 4, 6))[0].uniform
    assert not packed((0, 2, 4, 6), (1, 2, 5, 6))[0].uniform
    assert not packed((0, 0, 4, 4), (1, 0, 5, 5), store=None)[0].uniform


def test_extras_ride_along():
    extra = np.array([[1, 2], [3, 4]])
    _, (found, other) = packed((0, 0, 2, 2), extras=[extra, np.array([7])])
    assert found.view(2, 2).tolist() == extra.tolist()
    assert other.tolist() == [7]
