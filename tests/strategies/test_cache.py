"""The caches' spans on plain rows: no model, no tensor."""

import numpy as np
import pytest

from strategies import Row
from strategies.cache import DualCache, NoCache, PrefixCache


def row(**changes):
    return Row(**({"sample": 0, "slot": 0, "start": 5, "end": 25, "block_length": 8, "block": 13} | changes))


@pytest.mark.parametrize(
    ("cache", "entering", "inside", "last_block"),
    [
        (NoCache(), (0, 25), (0, 25), (0, 25)),
        (PrefixCache(), (0, 25), (13, 25), (21, 25)),
        (DualCache(), (0, 25), (13, 21), (21, 25)),
        (PrefixCache(refresh="first"), (0, 25), (13, 25), (21, 25)),
        (DualCache(refresh="first", suffix="stale"), (0, 25), (13, 21), (21, 25)),
    ],
    ids=str,
)
def test_spans(cache, entering, inside, last_block):
    assert cache.span(row(step=0)) == entering
    assert cache.span(row(step=1)) == cache.span(row(step=7)) == inside
    assert cache.span(row(step=1, block=21)) == last_block


def test_spans_end_where_a_stop_rule_moved_the_rows_end():
    assert NoCache().span(row(step=1, end=16)) == (0, 16)
    assert PrefixCache().span(row(step=1, end=16)) == (13, 16)
    assert DualCache().span(row(step=1, end=16)) == (13, 16)
    assert DualCache().span(row(step=0, end=16)) == (0, 16)


def test_only_the_stale_variant_keeps_what_was_cut():
    assert DualCache(suffix="stale").keeps_cut
    assert not any(cache.keeps_cut for cache in (NoCache(), PrefixCache(), DualCache()))


def test_the_first_refresh_commits_the_blocks_first_position_alone(propose):
    choice = np.array([[False, True, True], [True, False, True]])
    for cache in (PrefixCache(refresh="first"), DualCache(refresh="first")):
        entering = propose([[0.1, 0.9, 0.9], [0.9, 0.1, 0.9]], step=0)
        assert cache.transfer(entering, choice).tolist() == [[True, False, False]] * 2
        inside = propose([[0.1, 0.9, 0.9], [0.9, 0.1, 0.9]], step=1)
        assert cache.transfer(inside, choice) is choice or np.array_equal(
            cache.transfer(inside, choice), choice
        )
    for cache in (NoCache(), PrefixCache(), DualCache()):
        assert np.array_equal(cache.transfer(entering, choice), choice)
