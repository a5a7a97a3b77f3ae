"""`python -m harness bench`: one line of JSON last, one line for a mistake."""

import json
import subprocess
import sys

import pytest

from harness.cli import main

SMALL = "bench --shape demo --layers 1 --device cpu --prompts 2 --prompt-lengths 3-6 --gen-length 8"


def bench(capsys, *more):
    code = main([*SMALL.split(), "--block-length", "4", "--repeats", "1", *more])
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


def test_growth_alone(capsys):
    code, printed = bench(capsys, "--batch-sizes", "2", "--only", "linearity")
    found = json.loads(printed.out.splitlines()[-1])
    assert code == 0
    row = found["linearity"][0]
    assert row["ratio"] == row["ratio_spread"]["median"] == row["twice"]["median"] / row["seconds"]["median"]
    assert "steps" not in found


def test_memory_alone():
    """In a process of its own: one that has freed memory before may decode in that."""
    command = [sys.executable, "-m", "harness", *SMALL.split(), "--batch-sizes", "2", "--only", "memory"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    (memory,) = found["memory"]
    assert memory["peak"] >= memory["weights"] + memory["kv"] + memory["logits"] > 0
    assert "steps" not in found


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--shape", "gpt-2"], "gpt-2"),
        (["--batch-sizes", "0"], "at least 1"),
        (["--batch-sizes", "some"], "whole numbers"),
        (["--prompt-lengths", "9-3"], "LOW-HIGH"),
        (["--strategies", "fixed:schedule=dream", "--naive"], "--naive does not know"),
        (["--only", "linearity", "--naive"], "--naive is about throughput"),
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
