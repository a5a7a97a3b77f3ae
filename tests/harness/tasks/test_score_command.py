"""`python -m harness score`: its output, its totals, and what it says of bad input."""

import json

import pytest

from harness import sandbox
from harness.cli import main


@pytest.fixture
def score(tmp_path, small_data, capsys):
    """`score(task, rows, *options)`: (status, lines written, totals, what was said on stderr)."""

    def go(task, rows, *options, data=small_data):
        source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        source.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        where = ["--data", str(data)] if data else []
        status = main(
            ["score", "--task", task, "--input", str(source), "--output", str(target), *where, *options]
        )
        said = capsys.readouterr()
        lines = [json.loads(line) for line in target.read_text().splitlines()] if target.exists() else []
        return status, lines, json.loads(said.out.splitlines()[-1]) if said.out else None, said.err

    return go


def test_scores_and_totals(score):
    rows = [{"doc_id": 1, "response": "#### 2002"}, {"doc_id": 0, "response": "#### 1"}]
    status, lines, totals, _ = score("gsm8k", rows)
    assert status == 0
    assert [(line["doc_id"], line["extracted"], line["correct"], line["error"]) for line in lines] == [
        (1, "2002", True, None),
        (0, "1", False, None),
    ]
    assert set(lines[0]) == {"doc_id", "extracted", "correct", "metrics", "error"}
    assert totals["n"] == 2
    assert totals["correct"] == 1
    assert totals["accuracy"] == 0.5
    assert totals["metrics"]["exact_match,strict-match"] == 0.5
    assert (totals["protocol"], totals["headline"]) == ("dparallel", "exact_match,flexible-extract")


def test_code_is_run_and_reasons_are_given(score):
    rows = [
        {"doc_id": 0, "response": "    return 3.14159 * r * r"},
        {"doc_id": 1, "response": "    return [1, 1]"},
    ]
    status, lines, totals, _ = score("humaneval", rows)
    assert status == 0
    assert [(line["correct"], line["error"]) for line in lines] == [(True, None), (False, "AssertionError")]
    assert lines[0]["extracted"].endswith("return 3.14159 * r * r")
    assert totals["errors"] == 1


def test_protocols_and_options_reach_the_task(score):
    row = {"doc_id": 2, "response": "def least(a, b):\n    return min(a, b)"}
    assert score("mbpp", [row], "--protocol", "fast-dllm", "--option", "setup-code")[2]["correct"] == 1
    fenced = {"doc_id": 0, "response": "```python\ndef add(a, b):\n    return a + b\n```"}
    assert score("mbpp", [fenced])[2]["correct"] == 1
    assert score("mbpp", [fenced], "--protocol", "lm-eval")[2]["correct"] == 0


def test_the_samples_of_a_run_are_judged_again(score):
    sample = {"strategy": "fixed", "task": "gsm8k", "doc_id": 0, "text": "#### 2000", "status": "ok"}
    rows = [
        {**sample, "text": "#### 3"},
        sample,
        {**sample, "strategy": "factor", "text": "#### 1"},
        {**sample, "task": "math"},
        {**sample, "doc_id": 1, "status": "failed", "text": ""},
    ]
    status, lines, totals, _ = score("gsm8k", rows)
    assert status == 0
    assert [(line["strategy"], line["correct"]) for line in lines] == [("fixed", True), ("factor", False)]
    assert {name: part["accuracy"] for name, part in totals["strategies"].items()} == {
        "fixed": 1,
        "factor": 0,
    }


def test_any_text_can_be_judged_and_written(score):
    for task in ("gsm8k", "math", "humaneval", "mbpp"):
        rows = [{"doc_id": 0, "response": text} for text in ("\ud800", "\0", "é\u2028", "x" * 10**5)]
        status, lines, totals, _ = score(task, rows)
        assert (status, len(lines), totals["correct"]) == (0, 4, 0)


def test_no_response_at_all_has_no_accuracy(score):
    status, lines, totals, _ = score("gsm8k", [])
    assert (status, lines, totals["n"], totals["accuracy"]) == (0, [], 0, None)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "in.jsonl:2: not JSON"),
        ("3", "in.jsonl:2: not a JSON object with doc_id and response"),
        ({"doc_id": 1}, "in.jsonl:2: no field 'response'"),
        ({"response": ""}, "in.jsonl:2: no field 'doc_id'"),
        ({"doc_id": 1, "response": None}, "in.jsonl:2: response is not a string"),
        ({"doc_id": 4, "response": ""}, "in.jsonl:2: unknown doc_id 4: gsm8k has rows 0 to 3"),
        ({"doc_id": "1", "response": ""}, "in.jsonl:2: unknown doc_id '1'"),
    ],
)
def test_a_bad_line_is_named(score, row, said):
    status, lines, totals, err = score("gsm8k", [{"doc_id": 0, "response": ""}, row])
    assert (status, lines, totals) == (2, [], None)
    assert said in err
    assert err.count("\n") == 1


def test_bad_arguments_are_one_line(score, tmp_path):
    assert "unknown task" in score("gsm9k", [])[3]
    assert "unknown protocol" in score("gsm8k", [], "--protocol", "x")[3]
    said = score("gsm8k", [{"doc_id": 0, "response": ""}], data=tmp_path / "none")[3]
    assert said.startswith("error: --data")  # and not the line of the input that was read then
    assert "no such directory" in said
    assert (
        main(["score", "--task", "gsm8k", "--input", str(tmp_path / "no"), "--output", str(tmp_path / "o")])
        == 2
    )


def test_scores_never_replace_the_responses(score, tmp_path):
    score("gsm8k", [{"doc_id": 0, "response": "#### 1"}])
    file = tmp_path / "in.jsonl"
    before = file.read_text()
    command = [
        "score",
        "--task",
        "demo-gsm8k",
        "--input",
        str(file),
        "--output",
        str(tmp_path / "." / "in.jsonl"),
    ]
    assert main(command) == 2
    assert file.read_text() == before


def test_without_isolation_nothing_is_run_unless_told(score, monkeypatch):
    monkeypatch.setattr(sandbox, "available_backend", lambda: None)
    row = {"doc_id": 0, "response": "def add(a, b):\n    return a + b"}
    status, lines, _, err = score("mbpp", [row])
    assert (status, lines) == (2, [])
    assert "--allow-unsandboxed-code" in err
    assert score("mbpp", [row], "--allow-unsandboxed-code")[2]["correct"] == 1
