"""Strategies against the baseline, and one run against another."""

import dataclasses
import math

import pytest

from results.compare import broken_limits, compare_runs, newly_failed, only_in, parse_limits
from results.comparisons import WITHIN_NOISE, against_baseline, detectable
from results.curves import families
from results.errors import ResultsError
from results.findings import find, notes
from results.merge import merge_runs
from results.metrics import to_frame
from results.runs import load_run
from tests.results.conftest import SPECS, make_run, sample


def verdicts(strategy, wrong, n=100, task="a", **values):
    return [sample(strategy, task, i, correct=i >= wrong, **values) for i in range(n)]


def test_a_large_loss_is_worse_and_a_small_one_is_within_noise():
    records = verdicts("fixed", 0) + verdicts("few-step", 30, nfe=2) + verdicts("confidence", 3, nfe=4)
    table = against_baseline(to_frame(records)).set_index("strategy")
    assert table.loc["few-step", "verdict"] == "worse"
    assert table.loc["confidence", "verdict"] == WITHIN_NOISE
    assert table.loc["few-step", "nfe_ratio"] == pytest.approx(0.25)
    assert table.loc["few-step", "lost"] == 30
    assert "fixed" not in table.index


def test_the_correction_counts_the_strategies_that_meet_the_baseline():
    records = verdicts("fixed", 0) + verdicts("confidence", 7)
    alone = against_baseline(to_frame(records)).iloc[0]
    crowd = [each for i in range(8) for each in verdicts(f"factor:factor={i}", 0)]
    among = against_baseline(to_frame(records + crowd)).set_index("strategy").loc["confidence"]
    assert alone["p"] == among["p"]
    assert (alone["verdict"], among["verdict"]) == ("worse", WITHIN_NOISE)
    assert among["p_holm"] == pytest.approx(9 * alone["p"])


def test_all_tasks_together_are_one_more_comparison():
    records = [each for task in "ab" for each in verdicts("fixed", 0, task=task)]
    records += [each for task in "ab" for each in verdicts("few-step", 5, task=task)]
    table = against_baseline(to_frame(records))
    assert list(table["task"]) == ["a", "b", "all"]
    assert list(table["n"]) == [100, 100, 200]
    assert list(table["verdict"]) == [WITHIN_NOISE, WITHIN_NOISE, "worse"]


def test_without_a_baseline_nothing_is_compared():
    table = against_baseline(to_frame(verdicts("confidence", 3)))
    assert table.empty
    found = detectable(to_frame(verdicts("confidence", 3)), table)["a"]
    assert found.floor == 0.06
    assert math.isnan(found.expected)


def test_failed_samples_leave_the_pairs():
    records = verdicts("fixed", 0) + verdicts("confidence", 0, n=90)
    records += [sample("confidence", "a", i, status="failed", correct=None) for i in range(90, 100)]
    assert against_baseline(to_frame(records)).iloc[0]["n"] == 90


@pytest.fixture
def pair(tmp_path):
    slower = {**SPECS, "confidence": (6, 5), "factor": (4, 0)}
    return load_run(make_run(tmp_path / "a", n=40)), load_run(make_run(tmp_path / "b", slower, n=40))


def test_two_runs_are_compared_on_their_common_problems(pair):
    table = compare_runs(*pair).set_index(["strategy", "task"])
    assert table.loc[("fixed", "demo-math"), "verdict"] == WITHIN_NOISE
    moved = table.loc[("confidence", "demo-math")]
    assert moved["nfe_ratio"] == pytest.approx(1.5)
    assert moved["difference"] == pytest.approx(-0.1)
    assert (moved["accuracy_a"], moved["accuracy_b"]) == (pytest.approx(39 / 40), pytest.approx(35 / 40))
    assert only_in(pair[1], pair[0]) == [("factor", "demo-gsm8k"), ("factor", "demo-math")]


def test_limits_fail_only_what_got_worse_by_more(pair):
    table = compare_runs(*pair)
    assert broken_limits(table, {"accuracy": 0.1, "nfe": 0.5}) == []
    broken = broken_limits(table, {"accuracy": 0.05, "nfe": 0.2, "tps": 0.2})
    assert len(broken) == 6
    assert all("confidence on" in sentence for sentence in broken)
    better = compare_runs(pair[1], pair[0])
    assert broken_limits(better, {"accuracy": 0.0, "nfe": 0.0}) == []


@pytest.mark.parametrize(
    "text", ["speed=1", "nfe", "nfe=x", "accuracy=-1", "nfe=nan", "accuracy=3", "nfe=1,nfe=2"]
)
def test_a_limit_that_is_none_is_named(text):
    with pytest.raises(ResultsError, match="--fail-on"):
        parse_limits(text)


def test_limits_are_read():
    assert parse_limits("accuracy=0.03, nfe=0.05") == {"accuracy": 0.03, "nfe": 0.05}
    assert parse_limits("") == {}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("model: demo", "model: other", "model"),
        ("gen_length: {demo-gsm8k: 8", "gen_length: {demo-gsm8k: 16", "gen_length"),
    ],
)
def test_runs_of_other_settings_are_refused_unless_forced(tmp_path, old, new, named):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    config = (b / "config.yaml").read_text()
    assert old in config
    (b / "config.yaml").write_text(config.replace(old, new))
    with pytest.raises(ResultsError, match=named):
        compare_runs(load_run(a), load_run(b))
    assert len(compare_runs(load_run(a), load_run(b), force=True))


def test_another_protocol_is_refused_and_a_task_that_is_not_shared_does_not_matter(tmp_path):
    a = load_run(make_run(tmp_path / "a"))
    other = load_run(make_run(tmp_path / "b", protocol_hash="xyz"))
    with pytest.raises(ResultsError, match="protocol of demo-gsm8k"):
        compare_runs(a, other)
    part = load_run(make_run(tmp_path / "c", tasks=("demo-math",)))
    assert len(compare_runs(a, part)) == len(SPECS)
    with pytest.raises(ResultsError, match="no task in common"):
        compare_runs(a, load_run(make_run(tmp_path / "d", tasks=("other",))))


def test_merged_runs_tell_clashing_strategies_apart(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", {"fixed": (8, 0), "factor": (4, 1)})
    merged = merge_runs([load_run(a), load_run(b)])
    specs = list(dict.fromkeys(record.strategy for record in merged.records))
    assert specs == [*SPECS, "fixed (b)", "factor"]
    assert [part.name for part in merged.parts] == ["a", "b"]
    assert merged.vocab[3] == " 42"
    assert len(merge_runs([load_run(a), load_run(a)]).records) == 2 * len(load_run(a).records)


def merged_of(tmp_path, first, second, **change):
    """Findings of two merged runs of the given specs; `change` goes to the second's samples."""
    n = change.pop("n", 10)
    runs = [
        load_run(make_run(tmp_path / "a", first)),
        load_run(make_run(tmp_path / "b", second, n=n, **change)),
    ]
    return find(merge_runs(runs))


def test_speed_ups_of_merged_runs_refer_to_their_own_runs_baseline(tmp_path):
    """The second run's machine was ten times slower, which must not show."""
    specs = {"fixed": (8, 0), "factor": (4, 1), "oracle": (2, 0)}
    alone = find(load_run(make_run(tmp_path / "alone", specs))).summary.set_index(["strategy", "task"])
    both = merged_of(tmp_path, SPECS, specs, latency_s=5.0)
    found = both.summary.set_index(["strategy", "task"])
    assert found.loc[("factor", "demo-math"), "speedup"] == pytest.approx(1.0)
    assert found.loc[("factor", "demo-math"), "speedup_baseline"] == "fixed (b)"
    assert found.loc[("confidence", "demo-math"), "speedup"] == pytest.approx(2.0)
    shares = (found, alone)
    assert len({each.loc[("factor", "demo-math"), "oracle_share"] for each in shares}) == 1
    pairs = both.comparisons.set_index(["strategy", "task"])
    assert pairs.loc[("factor", "demo-math"), "tps_ratio"] == pytest.approx(1.0)
    assert ("fixed (b)", "demo-math") not in pairs.index


def test_a_merged_run_without_a_baseline_meets_that_of_a_like_run_but_not_its_clock(tmp_path):
    found = merged_of(tmp_path, SPECS, {"factor": (4, 3)})
    row = found.comparisons.set_index(["strategy", "task"]).loc[("factor", "demo-math")]
    assert (row["n"], row["lost"], row["nfe_ratio"]) == (10, 3, 0.5)
    assert math.isnan(row["tps_ratio"])
    assert math.isnan(found.summary.set_index(["strategy", "task"]).loc[("factor", "demo-math"), "speedup"])


def test_merging_compares_nothing_that_compare_refuses(tmp_path):
    found = merged_of(tmp_path, SPECS, {"factor": (4, 3)}, protocol_hash="xyz")
    assert not found.comparisons["strategy"].str.startswith("factor").any()
    assert set(found.summary["strategy"]) == {*SPECS, "factor (b)"}
    said = " ".join(notes(found))
    assert "b has other settings than a (protocol of demo-gsm8k" in said


def test_a_curve_joins_no_points_of_other_problems(tmp_path):
    found = merged_of(
        tmp_path, SPECS, {"confidence:threshold=0.5": (2, 3), "confidence:threshold=0.7": (3, 3)}, n=4
    )
    joined = families(list(found.samples["strategy"]))
    assert joined == {
        "confidence:threshold=*": ["confidence:threshold=0.6", "confidence"],
        "confidence:threshold=* (b)": ["confidence:threshold=0.5 (b)", "confidence:threshold=0.7 (b)"],
    }


def test_a_strategy_that_fails_in_the_second_run_is_named(tmp_path):
    a = load_run(make_run(tmp_path / "a"))
    records = [
        dataclasses.replace(record, status="failed", correct=None)
        if record.strategy == "confidence" and record.doc_id < 4
        else record
        for record in a.records
    ]
    b = dataclasses.replace(a, name="b", records=records)
    sentence = "confidence on demo-math: 4 problems failed in b that a decoded"
    assert sentence in newly_failed(a, b)
    assert newly_failed(b, a) == []


def test_unreadable_runs_are_named(tmp_path):
    with pytest.raises(ResultsError, match="not a directory"):
        load_run(tmp_path / "absent")
    run = make_run(tmp_path / "a")
    (run / "config.yaml").write_text("a: [")
    with pytest.raises(ResultsError, match=r"config\.yaml"):
        load_run(run)
    with pytest.raises(ResultsError, match="no run directory"):
        merge_runs([])


def test_runs_of_two_models_share_no_strategy_and_keep_what_they_agree_on(tmp_path):
    a, b = (
        load_run(make_run(tmp_path / name, {spec: (8, 0)}, n=2))
        for name, spec in (("a", "fixed"), ("b", "factor"))
    )
    merged = merge_runs(
        [a, dataclasses.replace(b, config=b.config | {"model": "other", "gen_length": {"c": 4}})]
    )
    assert {record.strategy for record in merged.records} == {"fixed", "factor (b)"}
    assert "model" not in merged.config
    assert merged.config["protocol"] == a.config["protocol"]
    assert merged.config["gen_length"] == {"demo-gsm8k": 8, "demo-math": 8, "c": 4}
