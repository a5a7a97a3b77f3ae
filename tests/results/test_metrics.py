"""Every figure of summary.csv, against values worked out by hand."""

import math

import pytest

from results.metrics import (
    SUMMARY_COLUMNS,
    baseline_of,
    mean_over_tasks,
    oracle_of,
    summarise,
    to_frame,
)
from tests.results.conftest import sample


def row(records, strategy="fixed", task="demo-math"):
    table = summarise(to_frame(records))
    return table[(table["strategy"] == strategy) & (table["task"] == task)].iloc[0]


def test_the_columns_are_those_of_the_contract():
    table = summarise(to_frame([sample()]))
    assert list(table.columns[: len(SUMMARY_COLUMNS)]) == SUMMARY_COLUMNS
    assert SUMMARY_COLUMNS[:7] == [
        "strategy",
        "task",
        "n",
        "failed",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
    ]
    assert summarise(to_frame([])).empty


def test_ratios_are_sums_over_sums():
    records = [sample(nfe=8, latency_s=1.0), sample(doc_id=1, nfe=2, tokens_eos=8, latency_s=0.1)]
    found = row(records)
    assert found["tpf_eos"] == pytest.approx((6 + 8) / (8 + 2))
    assert found["tpf_raw"] == pytest.approx(16 / 10)
    assert found["tpf_scored"] == pytest.approx(10 / 10)
    assert found["tps"] == pytest.approx(14 / 1.1)
    assert found["nfe"] == 5
    assert found["latency_s"] == pytest.approx(0.55)


def test_what_was_not_measured_is_nan_and_never_zero():
    found = row([sample(latency_s=None, flops=None, refresh_nfe=None)])
    for name in ("tps", "latency_s", "speedup", "flops", "refresh_nfe", "oracle_share"):
        assert math.isnan(found[name]), name
    assert found["nfe"] == 8


def test_failed_samples_are_counted_and_left_out_of_every_mean():
    records = [
        sample(),
        sample(doc_id=1, correct=False),
        sample(doc_id=2, status="failed", correct=None, nfe=1000),
    ]
    found = row(records)
    assert (found["n"], found["failed"]) == (3, 1)
    assert found["accuracy"] == 0.5
    assert found["nfe"] == 8


def test_a_strategy_of_which_everything_failed_still_has_its_row():
    found = row([sample(status="failed", correct=None, nfe=None)])
    assert (found["n"], found["failed"]) == (1, 1)
    assert math.isnan(found["accuracy"])
    assert math.isnan(found["tpf_eos"])


def test_speedup_is_of_seconds_on_the_problems_both_decoded():
    records = [
        sample(latency_s=1.0),
        sample(doc_id=1, latency_s=3.0),
        sample("confidence", latency_s=0.25),
        sample("confidence", doc_id=2, latency_s=99.0),
    ]
    assert row(records, "confidence")["speedup"] == pytest.approx(4.0)
    assert row(records, "fixed")["speedup"] == 1.0


def test_without_the_baseline_on_that_task_the_speedup_is_missing():
    records = [sample(), sample("confidence", task="demo-gsm8k")]
    found = row(records, "confidence", "demo-gsm8k")
    assert math.isnan(found["speedup"])
    assert found["speedup_baseline"] == ""


def test_the_oracles_share_is_of_its_tpf():
    records = [sample("oracle", nfe=2), sample("confidence", nfe=4)]
    assert row(records, "confidence")["oracle_share"] == pytest.approx(0.5)
    assert row(records, "oracle")["oracle_share"] == 1.0


@pytest.mark.parametrize(
    ("strategies", "expected"),
    [
        (["confidence", "fixed"], "fixed"),
        (["fixed:steps=64", "fixed+dual-cache", "fixed:schedule=dream"], "fixed:schedule=dream"),
        (["fixed:steps=64", "few-step", "fixed@consistency"], None),
    ],
)
def test_the_baseline_is_full_length_fixed_decoding(strategies, expected):
    assert baseline_of(strategies) == expected


def test_a_cached_oracle_is_no_bound():
    assert oracle_of(["oracle+dual-cache", "confidence"]) is None
    assert oracle_of(["oracle:reference=fixed"]) == "oracle:reference=fixed"


def test_means_over_tasks_leave_out_what_was_not_run_everywhere():
    records = [
        sample(task="a", correct=True),
        sample(task="b", correct=False, nfe=4),
        sample("few-step", task="a"),
    ]
    means = mean_over_tasks(summarise(to_frame(records)))
    assert list(means["strategy"]) == ["fixed"]
    found = means.iloc[0]
    assert (found["accuracy"], found["nfe"], found["n"], found["tasks"]) == (0.5, 6.0, 2, 2)
    assert found["accuracy_low"] < 0.5 < found["accuracy_high"]
