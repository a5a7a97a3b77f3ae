"""The published tables: whole, sourced, the same as the shared ones, and joined to what is measured."""

import csv
from pathlib import Path

import pytest

from results import published
from results.metrics import summarise, to_frame
from results.plots.style import rule_of
from tests.results.conftest import sample

SHARED = Path(__file__).parents[2].parent / "shared" / "published"
LLADA = {
    "model": "GSAI-ML/LLaDA-8B-Instruct",
    "gen_length": {"gsm8k": 256, "mbpp": 256},
    "block_length": {"gsm8k": 32, "mbpp": 32},
    "protocol": {"name": "dparallel"},
    "limit": "all",
}


def measured(*strategies, tasks=("gsm8k", "mbpp")):
    return summarise(to_frame([sample(spec, task) for spec in strategies for task in tasks]))


def test_every_row_has_a_source_and_a_believable_figure():
    table = published.load()
    assert (table["source"] != "").all()
    assert (table["method"] != "").all()
    assert table["accuracy"].dropna().between(0.05, 1).all()
    figures = table[list(published.FIGURES)]
    assert figures.notna().any(axis=1).all()
    assert (table[["nfe", "tpf", "tps", "latency_s", "speedup"]].fillna(1) > 0).all().all()
    assert set(table["benchmark"]) == {"gsm8k", "math", "humaneval", "mbpp"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/published is absent")
def test_the_shared_tables_are_all_in_it():
    table = published.load()
    count = 0
    for path in SHARED.glob("*.csv"):
        for row in csv.DictReader(path.open()):
            count += 1
            same = table[(table["model"] == row["model"]) & (table["gen_length"] == int(row["gen_length"]))]
            same = same[(same["accuracy"] - float(row["accuracy"]) / 100).abs() < 1e-9]
            same = same[same["method"] == row["method"]]
            for name in ("nfe", "tps", "latency_s", "speedup"):
                if row.get(name):
                    same = same[same[name] == float(row[name])]
            assert len(same) >= 1, row
    assert count == 74


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("demo", "demo"),
        ("llada-8b-instruct", "LLaDA-8B-Instruct"),
        ("Dream-org/Dream-v0-Instruct-7B", "Dream-7B-Instruct"),
        ("models/dream-7b-base/", "Dream-7B-Base"),
        ("llada-1.5", "LLaDA-1.5"),
        ("GSAI-ML/LLaDA-1.5", "LLaDA-1.5"),
        ("GSAI-ML/LLaDA-8B-Instruct@08b83a6", "LLaDA-8B-Instruct"),
        ("Dream-org/Dream-Coder-v0-Instruct-7B", "Dream-org/Dream-Coder-v0-Instruct-7B"),
        ("inclusionAI/LLaDA2.0-mini", "inclusionAI/LLaDA2.0-mini"),
        ("golden/llada-tiny", "golden/llada-tiny"),
        ("daydream", "daydream"),
    ],
)
def test_a_models_many_names_are_one(model, key):
    assert published.model_key(model) == key


def test_the_nearest_source_comes_first_and_differences_are_named():
    table = published.join(measured("fixed", "dparallel"), LLADA, {"gpu": "NVIDIA H200"})
    own = table[(table["strategy"] == "dparallel") & (table["task"] == "gsm8k")].iloc[0]
    assert own["published_accuracy"] == pytest.approx(0.761)
    assert own["published_nfe"] == 30
    assert own["measured_nfe"] == 8
    assert own["source"] == "dParallel (arXiv 2509.26488) Table 1"
    assert own["differs"] == ""
    tuned = table[(table["strategy"] == "dparallel") & (table["task"] == "mbpp")].iloc[0]
    assert tuned["differs"] == "there entropy threshold 0.45"
    other = table[table["source"].str.contains("d3LLM") & (table["strategy"] == "dparallel")].iloc[0]
    assert "protocol: d3llm there, dparallel here" in other["differs"]


def test_other_lengths_parameters_and_parts_of_a_set_are_differences():
    config = LLADA | {"gen_length": 128, "limit": 50}
    table = published.join(measured("confidence:threshold=0.5", tasks=["gsm8k"]), config, {})
    said = table.iloc[0]["differs"]
    assert "gen_length: 256 there, 128 here" in said
    assert "only 50 problems here" in said
    assert "strategy: confidence there" in said


def test_the_demo_suites_have_nothing_published():
    demo = summarise(to_frame([sample(task="demo-gsm8k")]))
    assert published.join(demo, {"model": "demo"}, {}).empty
    assert published.join(demo, {"model": "llada-8b-instruct"}, {}).empty
    assert published.points(demo, {"model": "demo"}).empty


def test_points_are_of_the_same_protocol_and_length():
    points = published.points(measured("fixed"), LLADA | {"protocol": {"name": "d3llm"}})
    assert {"d3LLM", "D2F"} <= set(points["strategy"])
    assert points[(points["strategy"] == "d3LLM") & (points["task"] == "gsm8k")]["tpf_eos"].max() == 9.11
    assert set(points["task"]) == {"gsm8k", "mbpp"}


def test_strategies_of_the_tables_begin_with_known_rules():
    known = {"fixed", "few-step", "confidence", "factor", "consistency", "dparallel", "learn2pd"}
    assert {rule_of(spec) for spec in published.load()["strategy"] if spec} <= known
