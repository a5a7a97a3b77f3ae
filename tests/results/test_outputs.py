"""What a run directory becomes: tables, figures, JSON and the terminal's table."""

import json

import pandas as pd
import pytest
from rich.console import Console

from results import write_outputs
from results.errors import ResultsError
from results.findings import find, notes, plain
from results.metrics import SUMMARY_COLUMNS
from results.outputs import summary_document
from results.runs import load_run
from results.table import number, percent, print_summary, times
from tests.results.conftest import SPECS, make_run, sample


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = make_run(tmp_path_factory.mktemp("runs") / "run")
    return directory, write_outputs(directory)


def test_everything_is_written(written):
    directory, paths = written
    for name in (
        "summary.csv",
        "summary.json",
        "tradeoff.png",
        "tradeoff.svg",
        "tradeoff.csv",
        "report.html",
    ):
        assert (directory / name).stat().st_size > 0, name
    assert all(path.is_file() for path in paths.values())
    assert {"tradeoff_nfe", "tradeoff_tps", "tradeoff_flops", "unmasking", "certainty"} <= set(paths)


def test_the_summary_is_the_contracts(written):
    table = pd.read_csv(written[1]["summary"])
    assert list(table.columns[: len(SUMMARY_COLUMNS)]) == SUMMARY_COLUMNS
    assert len(table) == 2 * len(SPECS)
    assert table["accuracy"].between(0, 1).all()


def test_the_json_says_the_same_and_is_strict(written):
    document = json.loads(written[1]["summary_json"].read_text(), parse_constant=pytest.fail)
    table = pd.read_csv(written[1]["summary"])
    assert [row["nfe"] for row in document["rows"]] == table["nfe"].tolist()
    assert document["detectable"]["demo-math"]["n"] == 10
    assert {curve["family"] for curve in document["curves"]} >= {"confidence:threshold=*"}
    assert len(document["means"]) == len(SPECS)


def test_writing_again_gives_the_same_bytes(written):
    directory, paths = written
    before = {name: path.read_bytes() for name, path in paths.items() if path.suffix != ".html"}
    page = paths["report"].read_bytes()
    again = write_outputs(directory)
    assert {name: path.read_bytes() for name, path in again.items() if path.suffix != ".html"} == before
    assert again["report"].read_bytes() == page


def test_an_interrupted_run_is_summarised_as_far_as_it_got(tmp_path):
    directory = make_run(tmp_path / "run", {"fixed": (8, 0)}, tasks=("a",), n=4)
    path = directory / "samples.jsonl"
    path.write_text(path.read_text()[:-30])
    for name in ("config.yaml", "environment.json", "vocab.json"):
        (directory / name).unlink()
    assert pd.read_csv(write_outputs(directory)["summary"])["n"].tolist() == [3]


def test_tuning_is_reported_where_the_run_asked_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr("results.outputs.draw_figures", lambda findings, target: {})
    directory = make_run(tmp_path / "run", tasks=("a",), n=30)
    with (directory / "config.yaml").open("a") as handle:
        handle.write("tune_fraction: 0.5\n")
    paths = write_outputs(directory)
    (picked,) = json.loads(paths["summary_json"].read_text())["tuned"]["picked"]
    assert picked["family"] == "confidence:threshold=*"
    tested = pd.read_csv(paths["tuned"])
    assert list(tested.columns[: len(SUMMARY_COLUMNS)]) == SUMMARY_COLUMNS
    assert set(tested["strategy"]) >= {picked["strategy"], "fixed"}
    assert tested["n"].unique().tolist() == [30 - picked["tune_n"]]


def test_a_directory_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ResultsError, match=r"samples\.jsonl"):
        write_outputs(tmp_path)


@pytest.mark.parametrize("width", [80, 160])
def test_the_terminals_table_shows_every_strategy_whole(run_dir, width):
    findings = find(load_run(run_dir))
    console = Console(width=width, record=True, force_terminal=False)
    print_summary(findings.summary, findings.comparisons, console)
    text = console.export_text()
    assert "…" not in text
    assert "mean of 2 suites" in text
    joined = "".join(text.split())
    assert "few-step" in joined
    assert "40.0" in joined  # few-step's accuracy in percent


def test_the_terminals_table_says_what_is_missing(tmp_path):
    records = [
        sample(task="a"),
        sample(task="b"),
        sample("few-step", task="a", status="failed", correct=None),
    ]
    from results.comparisons import against_baseline
    from results.metrics import summarise, to_frame

    frame = to_frame(records)
    console = Console(width=160, record=True)
    print_summary(summarise(frame), against_baseline(frame), console)
    text = console.export_text()
    assert "not on every suite, so not in the mean: few-step" in text
    assert "1 samples failed" in text
    empty = to_frame([])
    print_summary(summarise(empty), against_baseline(empty), console)
    assert "no finished sample" in console.export_text()


def test_missing_figures_are_dashes():
    nan = float("nan")
    assert [number(nan), percent(nan), times(nan), number(None), number("x")] == ["–"] * 5
    assert [number(1234.5), percent(0.1234), times(2)] == ["1,234.5", "12.3", "2.00x"]


def test_json_has_no_nan():
    assert plain({"a": [float("nan"), float("inf"), 1.5], 2: (None,)}) == {
        "a": [None, None, 1.5],
        "2": [None],
    }


def test_the_terminal_says_what_each_task_can_tell_apart(run_dir):
    findings = find(load_run(run_dir))
    console = Console(width=160, record=True, force_terminal=False)
    print_summary(findings.summary, findings.comparisons, console, notes(findings))
    said = console.export_text()
    assert (
        said.count("demo-math (10 problems): differences under 60.0 points cannot be told from chance") == 1
    )


def test_a_run_too_small_to_tune_keeps_its_other_figures(tmp_path):
    directory = make_run(tmp_path / "run", tasks=("demo-math",), n=1)
    with (directory / "config.yaml").open("a") as handle:
        handle.write("tune_fraction: 0.5\n")
    findings = find(load_run(directory))
    assert "nothing was tuned: --tune-fraction 0.5" in notes(findings)[-1]
    assert summary_document(findings)["tuned"]["picked"] == []
