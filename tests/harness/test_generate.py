"""`python -m harness generate`: golden cases through the command line, and every mistake on one line."""

import json
import os
from pathlib import Path

import pytest

from harness.cli import main
from harness.generate import read_prompts

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
MODEL = GOLDEN / "llada-tiny"
needs_golden = pytest.mark.skipif(not MODEL.is_dir(), reason="../shared/golden is absent")


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def command(tmp_path: Path, prompts: Path, strategy: str, *more: str, model: Path = MODEL) -> list[str]:
    return [
        "generate", "--model", str(model), "--strategy", strategy, "--input", str(prompts),
        "--output", str(tmp_path / "out.jsonl"), *more,
    ]  # fmt: skip


def golden_cases(spec: str) -> list[dict]:
    cases = json.loads((GOLDEN / "cases_visible.json").read_text())["cases"]
    return [case for case in cases if case["spec"] == spec and case["tier"] == "exact" and not case["flags"]]


@needs_golden
@pytest.mark.parametrize(
    "spec", ["confidence:threshold=0.7+dual-cache", "fixed:steps=128+eotp", "entropy:threshold=0.3"]
)
def test_golden_traces_through_the_command_line(tmp_path, spec):
    """Ragged prompts in one batch give each case's recorded tokens, NFE and commits, in the input's order."""
    cases = [case for case in golden_cases(spec) if case["model"] == "llada-tiny"][:3]
    prompts = write(
        tmp_path / "in.jsonl", *({"id": case["id"], "prompt_ids": case["prompt_ids"]} for case in cases)
    )
    lengths = ["--gen-length", str(cases[0]["gen_length"]), "--block-length", str(cases[0]["block_length"])]
    assert (
        main(command(tmp_path, prompts, spec, *lengths, "--trace", "--dtype", "float32", "--batch-size", "2"))
        == 0
    )
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for case, record in zip(cases, records, strict=True):
        assert record["id"] == case["id"]
        assert record["prompt_ids"] + record["output_ids"] == case["final_ids"]
        assert record["nfe"] == case["nfe"]
        expected = [
            [list(pair) for pair in zip(step["pos"], step["tok"], strict=True)] for step in case["trace"]
        ]
        assert record["trace"] == expected


@needs_golden
def test_trace_is_left_out_unless_asked_for(tmp_path):
    prompts = write(tmp_path / "in.jsonl", {"id": 1, "prompt_ids": [501, 10, 502]})
    assert main(command(tmp_path, prompts, "confidence", "--gen-length", "16", "--block-length", "16")) == 0
    record = json.loads((tmp_path / "out.jsonl").read_text())
    assert set(record) == {"id", "prompt_ids", "output_ids", "text", "nfe"}


MISTAKES = {
    "unknown rule": ("confidense", {"id": 1, "prompt_ids": [501]}, [], "did you mean confidence?"),
    "unknown key": ("confidence:treshold=1", {"id": 1, "prompt_ids": [501]}, [], "did you mean threshold?"),
    "threshold": ("confidence:threshold=1.5", {"id": 1, "prompt_ids": [501]}, [], "at most 1"),
    "two caches": ("fixed+dual-cache+prefix-cache", {"id": 1, "prompt_ids": [501]}, [], "two caches"),
    "two rules": ("fixed+factor", {"id": 1, "prompt_ids": [501]}, [], "two rules"),
    "block": (
        "fixed",
        {"id": 1, "prompt_ids": [501]},
        ["--gen-length", "8", "--block-length", "16"],
        "exceeds",
    ),
    "context": ("fixed", {"id": 1, "prompt_ids": [501] * 4090}, [], "prompt 1 has 4090 tokens"),
    "vocabulary": ("fixed", {"id": 1, "prompt_ids": [9999]}, [], "prompt 1 holds a token id outside"),
    "mask token": ("fixed", {"id": 1, "prompt_ids": [501, 510, 502]}, [], "holds the mask token"),
    "surrogate": ("fixed", {"id": 1, "prompt": "\ud800 x"}, [], "half of a surrogate pair"),
    "text": ("fixed", {"id": 1, "prompt": "hello"}, [], "no tokenizer"),
    "no ids": ("fixed", {"id": 1, "prompt_ids": []}, [], "line 1"),
    "both": ("fixed", {"id": 1, "prompt_ids": [1], "prompt": "x"}, [], "line 1"),
    "steps": ("fixed:steps=300", {"id": 1, "prompt_ids": [501]}, [], "300 forwards"),
    "no length": ("fixed", {"id": 1, "prompt_ids": [501]}, ["--gen-length", "0"], "must be at least 1"),
    "temperature": ("fixed", {"id": 1, "prompt_ids": [501]}, ["--temperature", "nan"], "--temperature"),
    "huge steps": ("fixed:steps=1e9999999", {"id": 1, "prompt_ids": [501]}, [], "positive whole number"),
    "device file": ("fixed", {"id": 1, "prompt_ids": [501]}, ["--output", "/proc/x"], "cannot read or write"),
    "schedule": (
        "fixed:schedule=dream+dual-cache",
        {"id": 1, "prompt_ids": [501]},
        [],
        "no blocks for a cache",
    ),
    "adapter": ("entropy@nope", {"id": 1, "prompt_ids": [501]}, [], "nope"),
    "filter": ("learn2pd", {"id": 1, "prompt_ids": [501]}, [], "filter"),
}


@needs_golden
@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_ends_in_one_line_and_status_2(tmp_path, capsys, case):
    strategy, record, more, expected = MISTAKES[case]
    prompts = write(tmp_path / "in.jsonl", record)
    assert main(command(tmp_path, prompts, strategy, *more)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert expected in error


def test_broken_line_is_named(tmp_path, capsys):
    prompts = tmp_path / "in.jsonl"
    prompts.write_text('{"id": 1, "prompt_ids": [5]}\n{"id": 2, \n')
    assert main(command(tmp_path, prompts, "fixed")) == 2
    assert "line 2" in capsys.readouterr().err


def test_a_line_that_is_not_utf_8_is_named(tmp_path, capsys):
    prompts = tmp_path / "in.jsonl"
    prompts.write_bytes(b'{"id": 1, "prompt_ids": [5]}\n{"id": "\xff", "prompt_ids": [5]}\n')
    assert main(command(tmp_path, prompts, "fixed")) == 2
    assert "line 2: not JSON in UTF-8" in capsys.readouterr().err


def test_line_separators_inside_a_string_do_not_break_its_line(tmp_path):
    """JSON allows U+2028 and U+0085 in strings, where str.splitlines would break the line."""
    prompts = tmp_path / "in.jsonl"
    prompts.write_text('\ufeff{"id": "a\u2028b\u0085c", "prompt": "x\u2028"}\r\n\n', encoding="utf-8")
    (found,) = read_prompts(prompts)
    assert (found.id, found.text) == ("a\u2028b\u0085c", "x\u2028")


@needs_golden
def test_any_whole_number_is_a_seed(tmp_path):
    prompts = write(tmp_path / "in.jsonl", {"id": 1, "prompt_ids": [501, 10, 502]})
    options = ["--gen-length", "4", "--block-length", "4", "--temperature", "1", "--seed", str(10**30)]
    assert main(command(tmp_path, prompts, "fixed", *options)) == 0


@needs_golden
def test_answers_never_replace_the_prompts(tmp_path, capsys):
    prompts = write(tmp_path / "out.jsonl", {"id": 1, "prompt_ids": [501, 10, 502]})
    before = prompts.read_text()
    assert main(command(tmp_path, prompts, "confidence")) == 2
    assert "is the input" in capsys.readouterr().err
    assert prompts.read_text() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@needs_golden
def test_unwritable_output_is_refused_before_decoding(tmp_path, capsys):
    prompts = write(tmp_path / "in.jsonl", {"id": 1, "prompt_ids": [5]})
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert main([*command(tmp_path, prompts, "fixed"), "--output", str(locked / "out.jsonl")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_output_in_a_missing_directory_is_refused_before_decoding(tmp_path, capsys):
    prompts = write(tmp_path / "in.jsonl", {"id": 1, "prompt_ids": [5]})
    assert main([*command(tmp_path, prompts, "fixed"), "--output", str(tmp_path / "no" / "out.jsonl")]) == 2
    assert "does not exist" in capsys.readouterr().err
