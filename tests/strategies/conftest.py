"""Hand-made proposals: the rules see probabilities written down in the test, and no model."""

import numpy as np
import pytest
import torch

from strategies import Predictions, Proposal, Vocabulary
from strategies.unmask import Confidence

VOCABULARY = Vocabulary(mask_id=7, terminators=(5, 6))
SIZE = 8


def sure(confidence, token=1):
    """A prediction of `token` with the given probability, the rest spread evenly over the other tokens."""
    rest = (1 - confidence) / (SIZE - 1)
    return tuple(confidence if i == token else rest for i in range(SIZE))


@pytest.fixture
def propose():
    """`propose(rows, ...)`: a Proposal of one row of predictions or a list of rows.

    A prediction is a confidence, a tuple (confidence, token) or a tuple of all probabilities; None where
    the position is not read.

    eligible, masked: [B][W] bool, by default every position read. step, entered, offset, width: as Row's.
    """

    def make(
        rows,
        *,
        rule=None,
        eligible=None,
        masked=None,
        step=0,
        entered=None,
        offset=0,
        width=None,
        gen_length=None,
        dtype=torch.float64,
        **more,
    ):
        if not isinstance(rows[0], list):
            rows = [rows]
        widest = max(map(len, rows))
        rows = [row + [None] * (widest - len(row)) for row in rows]
        read = np.array([[cell is not None for cell in row] for row in rows])
        cells = [as_distribution(cell) for row in rows for cell in row if cell is not None]
        masked = read if masked is None else np.array(masked)
        eligible = masked if eligible is None else np.array(eligible)
        facts = [
            [step, int(row.sum()) if entered is None else entered, offset, width or widest]
            for row in eligible
        ]
        rule = rule or Confidence()
        return Proposal(
            Predictions(
                torch.tensor(cells, dtype=torch.float64).clamp_min(1e-30).log().to(dtype),
                VOCABULARY,
                banned=rule.banned(VOCABULARY),
                muted=rule.muted(VOCABULARY),
                **more,
            ),
            read.ravel().nonzero()[0],
            eligible=eligible,
            masked=masked,
            rows=np.array(facts),
            gen_length=gen_length or widest,
            rule=rule,
        )

    return make


def as_distribution(cell):
    if isinstance(cell, float):
        return sure(cell)
    return sure(*cell) if len(cell) == 2 else cell


@pytest.fixture
def chosen(propose):
    """`chosen(rule, rows, ...)`: the positions of each row that the rule commits."""

    def run(rule, rows, **facts):
        transfer = rule.transfer_index(propose(rows, rule=rule, **facts))
        found = [row.nonzero()[0].tolist() for row in transfer]
        return found if isinstance(rows[0], list) else found[0]

    return run
