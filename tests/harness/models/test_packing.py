"""A step's packing: tokens, columns and store places of rows of any widths, laid end to end."""

import numpy as np
import torch

from harness.models.packing import Layout, Segment

CPU = torch.device("cpu")
CANVAS = np.arange(30).reshape(3, 10)


def packed(*segments, store=10, read=(0,), extras=()):
    step, more = Layout([Segment(*s) for s in segments], store, CPU).pack(CANVAS, np.array(read), extras)
    return step, more


def test_rows_are_laid_end_to_end():
    step, _ = packed((0, 2, 4, 6), (2, 0, 3, 9), read=[1, 4])
    assert step.tokens.tolist() == [2, 3, 20, 21, 22]
    assert step.columns.tolist() == [2, 3, 0, 1, 2]
    assert step.at.tolist() == [2, 3, 20, 21, 22]
    assert step.read.tolist() == [1, 4]


def test_the_stores_length_decides_the_places():
    step, _ = packed((0, 2, 4, 6), (2, 0, 3, 9), store=100)
    assert step.at.tolist() == [2, 3, 200, 201, 202]


def test_without_a_store_there_are_no_places():
    step, _ = packed((0, 0, 4, 4), (1, 0, 2, 2), store=None)
    assert step.at is None
    assert step.tokens.tolist() == [0, 1, 2, 3, 10, 11]


def test_extras_ride_along():
    extra = np.array([[1, 2], [3, 4]])
    _, (found, other) = packed((0, 0, 2, 2), extras=[extra, np.array([7])])
    assert found.view(2, 2).tolist() == extra.tolist()
    assert other.tolist() == [7]
