"""report, compare and regress from the command line: what they write, say and exit with."""

import pandas as pd
import pytest

from harness import regression
from harness.cli import main
from results import regress
from tests.results.conftest import SPECS, make_run, sample


@pytest.fixture
def runs(tmp_path):
    slower = {**SPECS, "confidence": (6, 5)}
    return make_run(tmp_path / "a", n=40), make_run(tmp_path / "b", slower, n=40)


def test_report_merges_runs_into_one_place(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "results.outputs.draw_figures", lambda findings, target: {"tradeoff": target / "tradeoff.png"}
    )
    out = tmp_path / "out"
    assert main(["report", *map(str, runs), "--output", str(out)]) == 0
    table = pd.read_csv(out / "summary.csv")
    assert "fixed (b)" in set(table["strategy"])
    assert (out / "report.html").is_file()
    assert "report.html" in capsys.readouterr().out
    assert not (runs[0] / "summary.csv").exists()


def test_report_of_what_is_no_run_is_the_users_mistake(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "samples.jsonl" in capsys.readouterr().err


def test_compare_says_what_changed(runs, capsys):
    assert main(["compare", *map(str, runs)]) == 0
    said = capsys.readouterr().out
    assert "b against a" in said
    assert "97.5 → 87.5" in said


def test_compare_exits_1_beyond_a_limit(runs, capsys):
    assert main(["compare", *map(str, runs), "--fail-on", "accuracy=0.03,nfe=0.05"]) == 1
    said = capsys.readouterr().err
    assert "confidence on demo-math: accuracy fell by 10.0 points, limit 3.0" in said
    assert "nfe became 50.0 % worse" in said
    assert main(["compare", *map(str, runs[::-1]), "--fail-on", "accuracy=0.03,nfe=0.05"]) == 0


def test_compare_exits_1_where_a_strategy_fails_now(runs, tmp_path, capsys):
    make_run(tmp_path / "failing", n=40, status="failed", correct=None)
    lines = (runs[0] / "samples.jsonl").read_text().splitlines()
    failed = (tmp_path / "failing" / "samples.jsonl").read_text().splitlines()
    mixed = [good if '"fixed"' in good else bad for good, bad in zip(lines, failed, strict=False)]
    (tmp_path / "failing" / "samples.jsonl").write_text("\n".join(mixed) + "\n")
    limits = ["--fail-on", "accuracy=0.03"]
    assert main(["compare", str(runs[0]), str(tmp_path / "failing"), *limits]) == 1
    assert "problems failed in failing that a decoded" in capsys.readouterr().err
    assert main(["compare", str(runs[0]), str(tmp_path / "failing")]) == 0


def test_compare_refuses_other_settings_unless_forced(runs, tmp_path, capsys):
    other = make_run(tmp_path / "other", protocol_hash="xyz")
    assert main(["compare", str(runs[0]), str(other)]) == 2
    assert "cannot be compared" in capsys.readouterr().err
    assert main(["compare", str(runs[0]), str(other), "--force"]) == 0
    assert "note: protocol" in capsys.readouterr().out


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """`gate(*arguments, **counts)`: the command over samples whose counts are given."""
    counts = {}

    def measure(settings, allow_unsandboxed_code=False):
        records = [sample(task=task, doc_id=i, **counts) for task in "ab" for i in range(4)]
        return regress.document(records, settings, regression.platform_of())

    monkeypatch.setattr(regression, "measure", measure)

    def run(*arguments, **changed):
        counts.clear()
        counts.update(changed)
        return main(["regress", "--baseline", str(tmp_path / "demo.json"), *arguments])

    return run


def test_regress_needs_a_baseline_and_update_writes_it(gate, tmp_path, capsys):
    assert gate() == 2
    assert "--update" in capsys.readouterr().err
    assert gate("--update") == 0
    assert regress.read(tmp_path / "demo.json")["settings"] == regression.DEFAULT_SET
    assert gate() == 0
    assert "exact counts: 0 moved, 0 regressions" in capsys.readouterr().out


def test_regress_prints_what_moved_and_exits_1(gate, capsys):
    gate("--update")
    assert gate(nfe=9) == 1
    said = capsys.readouterr().out
    assert "8.00" in said
    assert "9.00" in said
    assert "2 moved, 2 regressions" in said
    assert "regress --update" in said
    assert gate("--update", nfe=9) == 0
    assert gate(nfe=9) == 0


def test_regress_keeps_a_history_and_its_trend(gate, tmp_path):
    history = tmp_path / "history.csv"
    assert gate("--update", "--history", str(history)) == 0
    assert len(pd.read_csv(history)) == 2
    assert (tmp_path / "history_trend.png").is_file()


def test_a_baseline_that_cannot_be_written_is_the_users_mistake(gate, tmp_path, capsys):
    (tmp_path / "demo.json").mkdir()
    assert gate("--update") == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_the_users_mistake(runs, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["report", str(runs[0]), "--output", str(tmp_path / "file")]) == 2
    assert "cannot write" in capsys.readouterr().err
