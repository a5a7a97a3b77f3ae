"""`python -m harness bench`: one line of JSON last, one line for a mistake."""

import json

import pytest

from harness.cli import main

SMALL = "bench --shape demo --layers 1 --prompts 2 --prompt-lengths 3-6 --gen-length 8 --block-length 4"


def bench(capsys, *more):
    code = main([*SMALL.split(), "--repeats", "1", *more])
    return code, capsys.readouterr()


def test_tables_and_one_json_line(capsys):
    code, printed = bench(capsys, "--batch-sizes", "2", "--strategies", "confidence+dual-cache", "--naive")
    found = json.loads(printed.out.splitlines()[-1])
    assert code == 0
    assert [row["batch"] for row in found["throughput"]] == ["naive", 2]
    assert found["throughput"][1]["same_tokens_and_nfe"] == 2
    assert found["steps"][0]["useful_columns"] == 1.0
    assert found["flops_per_s"] > 0
    assert found["bytes_per_s"] > 0
    assert "outside forward" in printed.out


@pytest.mark.parametrize("only", ["linearity", "memory"])
def test_one_measure_alone(capsys, only):
    code, printed = bench(capsys, "--batch-sizes", "2", "--only", only)
    found = json.loads(printed.out.splitlines()[-1])
    assert code == 0
    assert found[only][0]["ratio"] > 0
    assert "steps" not in found


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--shape", "gpt-2"], "gpt-2"),
        (["--batch-sizes", "0"], "at least 1"),
        (["--batch-sizes", "some"], "whole numbers"),
        (["--prompt-lengths", "9-3"], "LOW-HIGH"),
        (["--strategies", "fixed:schedule=dream", "--naive"], "--naive does not know"),
        (["--strategies", "confidence,dparallel"], "one adapter at a time"),
        (["--only", "memory"], "--only memory measures one"),
        (["--prompt-lengths", "600"], "context"),
        (["--task", "demo-gsm8k"], "tokenizer"),
        (["--data", "absent.jsonl"], "absent.jsonl"),
    ],
)
def test_a_mistake_is_one_line(capsys, more, named):
    code, printed = bench(capsys, *more)
    assert code == 2
    assert named in printed.err
    assert len(printed.err.splitlines()) == 1
