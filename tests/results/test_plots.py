"""Figures: what is drawn where, marks that differ in grey, labels that do not collide, data beside them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from results.metrics import summarise, to_frame
from results.plots import certainty, labels, style, tradeoff, unmasking
from results.records import read_samples
from tests.results.conftest import SPECS, sample

MANY = [
    *(
        "fixed",
        "fixed+dual-cache",
        "few-step",
        "confidence",
        "confidence+prefix-cache",
        "confidence+dual-cache",
    ),
    *("factor", "entropy", "consistency", "dparallel", "dparallel+dual-cache", "learn2pd", "learn2pd+eotp"),
    *("learn2pd+eotp+prefix-cache", "learn2pd+eotp+dual-cache", "oracle", "mine", "mine:x=1", "other"),
    *(f"confidence:threshold={i / 100}" for i in range(50, 65)),
]


def test_no_two_strategies_look_alike_in_grey():
    marks = style.marks(MANY)
    looks = [(mark.marker, mark.fill) for mark in marks.values()]
    assert len(set(looks)) == len(MANY)
    assert marks["fixed"] == style.Mark("#1a1a1a", "s", "full")
    assert marks["confidence"].marker == marks["confidence+dual-cache"].marker
    assert marks["confidence+prefix-cache"].fill == "left"


def test_more_strategies_than_marks_still_draw():
    assert len(style.marks([f"rule{i}" for i in range(200)])) == 200


@pytest.fixture
def summary(run_dir):
    return summarise(to_frame(read_samples(run_dir / "samples.jsonl")))


@pytest.mark.parametrize("name", tradeoff.AXES)
def test_the_tradeoff_is_written_with_its_data(summary, tmp_path, name):
    written = tradeoff.draw(summary, tmp_path / "figures" / name, tradeoff.AXES[name])
    assert [path.name for path in written] == [f"{name}.png", f"{name}.svg", f"{name}.csv"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    data = pd.read_csv(written[2])
    assert len(data) == 3 * len(SPECS)  # two suites and their mean
    assert list(data["panel"].unique()) == ["mean of 2 suites", "demo-gsm8k", "demo-math"]


def test_the_frontier_leaves_the_oracle_out(summary, tmp_path):
    data = pd.read_csv(tradeoff.draw(summary, tmp_path / "t", tradeoff.AXES["tpf"])[2])
    best = set(data[data["frontier"]]["strategy"])
    assert best == {"fixed", "confidence", "confidence:threshold=0.6", "few-step"}
    fewer = pd.read_csv(tradeoff.draw(summary, tmp_path / "n", tradeoff.AXES["nfe"])[2])
    assert set(fewer[fewer["frontier"]]["strategy"]) == best


def test_the_figure_draws_whatever_a_run_left(tmp_path):
    one = summarise(to_frame([sample()]))
    failed = summarise(to_frame([sample(status="failed", correct=None, nfe=None)]))
    nothing = summarise(to_frame([]))
    wrong = summarise(to_frame([sample(correct=False, tokens_eos=0)]))
    for i, table in enumerate((one, failed, nothing, wrong)):
        assert tradeoff.draw(table, tmp_path / str(i), tradeoff.AXES["tpf"])[0].is_file()


def test_published_points_are_hollow_marks_on_their_own_panel(summary, tmp_path):
    extra = pd.DataFrame(
        [{"task": "demo-math", "strategy": "paper", "accuracy": 0.5, "tpf_eos": 3.0, "nfe": 9, "source": "x"}]
    )
    plain = tradeoff.draw(summary, tmp_path / "a", tradeoff.AXES["tpf"])[1].read_text()
    with_points = tradeoff.draw(summary, tmp_path / "b", tradeoff.AXES["tpf"], published=extra)[1].read_text()
    assert "published" in with_points
    assert "published" not in plain
    data = pd.read_csv(tmp_path / "b.csv")
    (paper,) = data[data["source"] == "x"].to_dict("records")
    assert (paper["panel"], paper["strategy"], paper["tpf_eos"]) == ("demo-math", "paper", 3.0)
    other_axis = tradeoff.draw(summary, tmp_path / "c", tradeoff.AXES["tps"], published=extra)[1].read_text()
    assert "published" not in other_axis  # nothing is known of it there


def test_labels_cover_neither_points_nor_each_other():
    random = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in random.uniform(0, 1, (12, 2))]
    figure, axes = plt.subplots(figsize=(7, 5))
    axes.plot(*zip(*points, strict=True), ls="", marker="o")
    figure.canvas.draw()
    named = [labels.Label(x, y, f"strategy-{i}", "black") for i, (x, y) in enumerate(points)]
    labels.place(axes, named, points, size=8)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    spots = axes.transData.transform(points)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert not any(box.contains(*spot) for spot in spots)
    plt.close(figure)


def test_the_unmasking_map_shows_one_problem_under_several_strategies(run_dir, tmp_path):
    records = read_samples(run_dir / "samples.jsonl")
    picked = unmasking.pick(records, ["confidence+dual-cache", "fixed", "absent"])
    assert [(each.strategy, each.doc_id) for each in picked] == [("confidence+dual-cache", 0), ("fixed", 0)]
    written = unmasking.draw(picked, tmp_path / "map", block_length=4)
    data = pd.read_csv(written[2])
    assert len(data) == 16
    assert data[data["refresh"]]["forward"].unique().tolist() == [1]


def test_a_sample_without_confidences_or_commits_draws_too(tmp_path):
    bare = sample(confidence=[], commit_step=[0] + [1] * 7, nfe=1)
    assert unmasking.draw([bare], tmp_path / "map")[0].is_file()
    assert unmasking.pick([sample(commit_step=[], confidence=[])], ["fixed"]) == []


def test_certainty_is_the_mean_over_committed_tokens():
    early = sample(commit_step=[1] * 4 + [2] * 4, confidence=[0.5] * 4 + [1.0] * 4, nfe=2)
    frame = certainty.curve([early, early])
    half = certainty.POINTS // 2
    assert (frame["confidence"][:half] == 0.5).all()
    assert (frame["confidence"][half:] == 1.0).all()
    assert (frame["tokens_a_forward"] == 4).all()
    assert (frame["samples"] == 2).all()


def test_certainty_of_samples_with_other_numbers_of_forwards_shares_one_axis():
    two = sample(commit_step=[1] * 4 + [2] * 4, confidence=[0.5] * 4 + [1.0] * 4, nfe=2)
    four = sample(commit_step=[1] * 2 + [2] * 2 + [4] * 4, confidence=[0.8] * 8, nfe=4)
    frame = certainty.curve([two, four])
    quarters = frame.iloc[[7, 22, 37, 52]].round(6)
    assert quarters["tokens_a_forward"].tolist() == [3, 3, 2, 4]
    assert quarters["confidence"].tolist() == [0.6, 0.6, 1.0, 0.9]
    assert certainty.curve([])["tokens_a_forward"].isna().all()


def test_the_certainty_figure_is_written_with_its_data(run_dir, tmp_path):
    records = read_samples(run_dir / "samples.jsonl")
    written = certainty.draw(records, ["fixed", "confidence"], tmp_path / "certainty")
    assert set(pd.read_csv(written[2])["strategy"]) == {"fixed", "confidence"}


def test_the_unmasking_map_hatches_what_a_stop_rule_cut_off(tmp_path):
    short = sample("confidence+eotp", output_ids=[0, 9], commit_step=[1, 2], confidence=[0.5, 0.9], nfe=2)
    drawn = unmasking.draw([sample("fixed"), short], tmp_path / "map")[1].read_text()
    assert "cut off by the stop rule" in drawn
    assert "cut off" not in unmasking.draw([sample("fixed")], tmp_path / "whole")[1].read_text()
