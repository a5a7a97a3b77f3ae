"""Frontier and areas against figures published for d3LLM, and the split that a setting is picked on."""

import pytest

from results.curves import (
    aup_d3llm_v1,
    curves,
    families,
    family,
    hypervolume,
    in_tune_split,
    pareto,
    plain_area,
    tune,
)
from results.errors import ResultsError
from results.metrics import summarise, to_frame
from tests.results.conftest import sample

# GSM8K-CoT of d3LLM's leaderboard data: (TPF, accuracy in percent), and the AUP its code gives them.
LEADERBOARD = {
    "LLaDA": ([(1.0, 72.55)], 72.5),
    "Fast-dLLM": ([(1.0, 74.79), (2.77, 74.68)], 205.8),
    "D2F": ([(1.0, 74.98), (2.88, 74.39)], 213.8),
    "dParallel": ([(1.0, 74.0), (5.14, 72.63)], 358.1),
    "d3LLM": ([(1.0, 74.02), (9.11, 73.09)], 637.7),
}


@pytest.mark.parametrize("method", LEADERBOARD)
def test_aup_is_what_the_published_code_computes(method):
    points, expected = LEADERBOARD[method]
    assert aup_d3llm_v1(points[::-1], 74.98) == pytest.approx(expected, abs=0.06)


def test_aup_drops_points_over_five_below_and_aborts_where_the_last_is():
    dip = [(1.0, 80.0), (2.0, 70.0), (3.0, 79.0)]
    assert aup_d3llm_v1(dip, 80.0) == aup_d3llm_v1([dip[0], dip[2]], 80.0)
    with pytest.raises(ResultsError, match="more than 5 points"):
        aup_d3llm_v1([(1.0, 80.0), (2.0, 74.9)], 80.0)
    with pytest.raises(ResultsError, match="above 0"):
        aup_d3llm_v1([(0.0, 80.0)], 80.0)


def test_aup_depends_on_its_pool_and_the_plain_area_does_not():
    points, _ = LEADERBOARD["d3LLM"]
    assert aup_d3llm_v1(points, 90.0) < aup_d3llm_v1(points, 75.0)
    assert plain_area(points) == pytest.approx(74.02 + 0.5 * 8.11 * (74.02 + 73.09))


def test_the_frontier_keeps_what_nobody_beats():
    points = [(1, 0.9), (2, 0.8), (2, 0.85), (3, 0.7), (2.5, 0.6), (float("nan"), 1.0), (1, 0.9)]
    assert pareto(points) == [0, 2, 3]
    assert pareto([]) == []


def test_the_hypervolume_is_the_union_of_rectangles():
    assert hypervolume([(1, 3), (2, 2), (3, 1)]) == 6
    assert hypervolume([(2, 2), (1, 1)]) == 4
    assert hypervolume([(2, 2)], reference=(1, 1)) == 1
    assert hypervolume([]) == 0


def test_families_are_settings_of_one_sweep():
    assert (
        family("learn2pd:threshold=0.96,filter=a/b+dual-cache@x")
        == "learn2pd:threshold=*,filter=a/b+dual-cache@x"
    )
    specs = ["confidence", "confidence:threshold=0.5", "fixed:steps=8", "fixed:remasking=random", "factor"]
    assert families(specs) == {"confidence:threshold=*": ["confidence:threshold=0.5", "confidence"]}


def cell(strategy, accuracies, nfe):
    return [sample(strategy, doc_id=i, correct=right, nfe=nfe) for i, right in enumerate(accuracies)]


def test_curves_state_their_pool_and_leave_the_oracle_out():
    records = cell("confidence:threshold=0.9", [True] * 10, 8) + cell("oracle", [True] * 10, 1)
    records += cell("confidence:threshold=0.7", [True] * 9 + [False], 4) + cell("fixed", [False] * 10, 8)
    found = {curve.family: curve for curve in curves(summarise(to_frame(records)))}
    assert set(found) == {"confidence:threshold=*", "fixed"}
    swept = found["confidence:threshold=*"]
    assert swept.specs == ("confidence:threshold=0.9", "confidence:threshold=0.7")
    assert swept.pool_best == 100
    assert "oracle" not in swept.pool
    assert "more than 5 points" in swept.note
    assert swept.plain_area > 0


def test_the_tune_split_is_stable_and_of_the_asked_size():
    inside = [doc_id for doc_id in range(4000) if in_tune_split(doc_id, 0.25)]
    assert 900 < len(inside) < 1100
    assert set(inside) <= {doc_id for doc_id in range(4000) if in_tune_split(doc_id, 0.5)}
    assert inside != [doc_id for doc_id in range(4000) if in_tune_split(doc_id, 0.25, seed=1)]


def test_a_setting_is_picked_on_one_side_and_reported_on_the_other():
    tuning = [in_tune_split(i, 0.5) for i in range(40)]
    # 0.5 is fastest; on the tuning side it is as good as 0.9, on the other side it fails everywhere
    records = cell("confidence:threshold=0.9", [True] * 40, 8) + cell("confidence:threshold=0.5", tuning, 2)
    records += cell("confidence:threshold=0.3", [False] * 40, 1) + cell("fixed", [True] * 40, 8)
    picked, tested = tune(to_frame(records), 0.5)
    assert [each.strategy for each in picked] == ["confidence:threshold=0.5"]
    assert picked[0].tune_n == sum(tuning)
    assert picked[0].tune_accuracy == 1
    assert list(tested["strategy"]) == ["confidence:threshold=0.5", "fixed"]
    assert tested["accuracy"].tolist() == [0.0, 1.0]
    assert tested["n"].tolist() == [40 - sum(tuning)] * 2


def test_the_baseline_stays_beside_a_sweep_of_its_own_steps():
    records = cell("fixed", [True] * 40, 8) + cell("fixed:steps=4", [True] * 40, 4)
    picked, tested = tune(to_frame(records), 0.5)
    assert [each.strategy for each in picked] == ["fixed:steps=4"]
    assert tested["strategy"].tolist() == ["fixed", "fixed:steps=4"]
    assert tested["speedup"].notna().all()
    said = picked[0].sentence(tested)
    assert "fixed:steps=4 was picked on" in said
    assert f"on the other {tested['n'].iloc[0]} it has 100.0 %" in said
    assert "no other problem" in picked[0].sentence(tested.iloc[:0])


@pytest.mark.parametrize("fraction", [0, 1, -0.1])
def test_a_fraction_that_splits_nothing_is_an_error(fraction):
    with pytest.raises(ResultsError, match="--tune-fraction"):
        tune(to_frame(cell("confidence:threshold=0.9", [True] * 4, 8)), fraction)


def test_a_split_with_an_empty_side_is_an_error():
    with pytest.raises(ResultsError, match="raise --limit"):
        tune(to_frame(cell("confidence:threshold=0.9", [True], 8)), 0.5)
