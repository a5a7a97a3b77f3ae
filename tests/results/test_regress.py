"""The gate's verdict on documents made by hand, and the history it leaves."""

import copy
import json

import pytest

from results import history, regress
from results.errors import ResultsError
from results.plots import trend
from tests.results.conftest import sample

HERE = {"cpu": "x", "torch": "1"}


def document(**changes):
    records = [
        sample(strategy, task, i, **({"nfe": 8 + i} | changes))
        for strategy in ("fixed", "confidence")
        for task in ("a", "b")
        for i in range(6)
    ]
    return regress.document(records, {"limit": 6}, HERE)


def test_the_same_counts_move_nothing(tmp_path):
    path = tmp_path / "sub" / "demo.json"
    regress.write(path, document())
    read = regress.read(path)
    assert read == document()
    assert regress.compare(read, document()) == []


def test_one_forward_more_on_one_problem_is_a_regression_on_the_same_platform():
    now = document()
    now["cells"][1]["nfe"][3] += 1
    (moved,) = regress.compare(document(), now)
    assert (moved.strategy, moved.task, moved.figure, moved.regression) == ("fixed", "b", "nfe", True)
    assert "1 of 6" in moved.why


def test_fewer_forwards_are_one_too():
    now = document()
    now["cells"][0]["refresh_nfe"] = [0] * 6
    before = document()
    before["cells"][0]["refresh_nfe"] = [2] * 6
    assert [each.regression for each in regress.compare(before, now)] == [True]


def test_another_platform_has_a_tolerance():
    now = document()
    now["platform"] = {"cpu": "y", "torch": "1"}
    now["cells"][0]["nfe"][0] += 1  # 63 to 64 forwards in all: 1.6 %
    now["cells"][1]["nfe"] = [count + 2 for count in now["cells"][1]["nfe"]]
    moved = {each.task: each.regression for each in regress.compare(document(), now)}
    assert moved == {"a": False, "b": True}


def test_a_lost_answer_is_a_regression_on_the_same_platform():
    now = document()
    now["cells"][2]["verdicts"] = "rrwrrr"
    (moved,) = regress.compare(document(), now)
    assert (moved.strategy, moved.figure, moved.regression) == ("confidence", "accuracy", True)
    assert not any(each.regression for each in regress.compare(now, document()))


def test_answers_that_all_strategies_lose_are_tested_problem_by_problem():
    now = document() | {"platform": {"cpu": "y"}}
    for cell in now["cells"]:
        cell["verdicts"] = "wwrrrr"  # 4 of 12 problems: p 0.13
    assert not any(each.regression for each in regress.compare(document(), now))
    for cell in now["cells"]:
        cell["verdicts"] = "wwwrrr"  # 6 of 12: p 0.03, and no strategy alone after the correction
    (moved,) = [each for each in regress.compare(document(), now) if each.regression]
    assert (moved.strategy, moved.task, moved.figure) == ("all", "all", "accuracy")


def test_lost_answers_are_tested_over_a_strategys_tasks_on_another_platform():
    now = document() | {"platform": {"cpu": "y"}}
    for cell in now["cells"][:2]:
        cell["verdicts"] = "wwwrrr"
    (moved,) = [each for each in regress.compare(document(), now) if each.strategy == "fixed"]
    assert not moved.regression  # 6 of 12 lost: p 0.03, not after the correction for two strategies
    for cell in now["cells"][:2]:
        cell["verdicts"] = "wwwwww"
    (moved,) = [each for each in regress.compare(document(), now) if each.strategy == "fixed"]
    assert moved.regression
    assert (moved.before, moved.after) == ("100.0 %", "0.0 %")
    assert not any(each.regression for each in regress.compare(now, document()))


def test_other_weights_are_named_first():
    now = document() | {"weights": "f" * 64}
    (moved,) = regress.compare(document(), now)
    assert (moved.figure, moved.after, moved.regression) == ("weights", "f" * 12, True)


def test_missing_and_new_cells_and_other_problems_are_told():
    now = document()
    gone = now["cells"].pop(0)
    moved = regress.compare(document(), now)
    assert [(each.figure, each.regression) for each in moved] == [("cell", True)]
    assert [each.regression for each in regress.compare(now, document())] == [False]
    now["cells"].insert(0, copy.deepcopy(gone) | {"doc_ids": [9, 8, 7, 6, 5, 4]})
    assert [each.figure for each in regress.compare(document(), now)] == ["problems"]


def test_a_failed_sample_makes_no_baseline():
    with pytest.raises(ResultsError, match="out of memory"):
        regress.document([sample(status="failed", error="out of memory", nfe=None)], {}, HERE)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"version": 0, "cells": []}',
        '{"version": 1, "cells": []}',
        '{"version": 1, "cells": [], "settings": {}, "platform": {}}',
        '{"version": 1, "cells": [{"strategy": "fixed"}], "settings": {}, "platform": {}}',
    ],
)
def test_what_is_no_baseline_is_named(tmp_path, text):
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match="--update"):
        regress.read(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"nfe": ["seven"] * 6}, "nfe in cell 1"),
        ({"query_tokens": 3}, "query_tokens in cell 1"),
        ({"verdicts": "zzzzzz"}, "verdicts"),
        ({"task": "elsewhere"}, "the cell of fixed on a"),
    ],
)
def test_what_a_cell_lacks_is_named(tmp_path, change, named):
    path, found = tmp_path / "b.json", document()
    found["settings"] = {"strategies": ["fixed", "confidence"], "tasks": ["a", "b"]}
    found["cells"][0] |= change
    regress.write(path, found)
    with pytest.raises(ResultsError, match=named):
        regress.read(path)


def test_a_missing_baseline_says_how_to_get_one(tmp_path):
    with pytest.raises(ResultsError, match="--update"):
        regress.read(tmp_path / "b.json")


def test_the_table_of_what_moved_names_it():
    now = document()
    now["cells"][0]["nfe"][0] += 1
    table = regress.table_of(regress.compare(document(), now))
    assert table.row_count == 1


def test_history_has_one_row_a_commit_strategy_and_suite(tmp_path):
    path = tmp_path / "history.csv"
    history.append(path, history.rows_of(document(), "abc1234", "2026-01-01"))
    history.append(path, history.rows_of(document(nfe=9), "def5678", "2026-01-02"))
    whole = history.append(path, history.rows_of(document(nfe=7), "def5678", "2026-01-03"))
    assert len(whole) == 8
    assert history.read(path)["nfe"].tolist() == [10.5] * 4 + [7] * 4
    written = trend.draw(whole, tmp_path / "history_trend")
    assert [each.suffix for each in written] == [".png", ".svg", ".csv"]
    assert all(each.stat().st_size > 100 for each in written)


def test_a_file_that_is_no_history_is_named(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ResultsError, match="lacks commit"):
        history.read(path)
    path.write_text("")
    with pytest.raises(ResultsError, match="not a history"):
        history.read(path)


def test_the_baseline_reads_well_in_a_diff(tmp_path):
    regress.write(tmp_path / "b.json", document())
    lines = (tmp_path / "b.json").read_text().splitlines()
    assert sum('"strategy": "confidence"' in line for line in lines) == 2
    assert json.loads("\n".join(lines))["settings"] == {"limit": 6}
