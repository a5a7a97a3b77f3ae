"""`run` from the command line: its outputs, exit codes, last line, and one line for every mistake."""

import json

import pytest

from harness import runner_decode
from harness.cli import main
from tests.checkpoints import write_checkpoint
from tests.harness.runner.kit import QUESTIONS


@pytest.fixture
def command(fake_tasks, checkpoint, tmp_path):
    """`command(*arguments)`: the exit code of `run` on the tiny checkpoint and one fake task."""

    def run(*arguments, strategies="fixed"):
        base = ["run", "--model", str(checkpoint), "--tasks", "t1", "--output", str(tmp_path / "run")]
        return main([*base, "--device", "cpu", "--strategies", strategies, *map(str, arguments)])

    return run


def mistake(capsys):
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in said.err
    assert said.out == ""
    return lines[0]


def test_the_default_run_writes_every_output(checkpoint, tmp_path, capsys):
    arguments = ["run", "--model", str(checkpoint), "--tasks", "demo-gsm8k", "--limit", "3", "--strategies"]
    arguments += ["fixed,confidence+dual-cache,oracle", "--gen-length", "16", "--block-length", "8"]
    assert main([*arguments, "--output", str(tmp_path / "run")]) == 0
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.yaml", "environment.json", "samples.jsonl", "summary.csv", "summary.json"} <= written
    assert {"tradeoff.png", "tradeoff.svg", "report.html"} <= written
    out = capsys.readouterr().out
    assert "tradeoff.png" in out
    assert "confidence+dual-cache" in out
    last = json.loads(out.splitlines()[-1])
    assert last["samples"] == 9
    assert last["strategies"]["fixed"]["nfe"] == 16
    assert last["strategies"]["fixed"]["speedup"] == 1
    # config.yaml can itself be given as --config
    again = ["run", "--config", str(tmp_path / "run" / "config.yaml"), "--output", str(tmp_path / "run")]
    assert main(again) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["strategies"] == last["strategies"]


def test_failed_samples_exit_with_3(command, monkeypatch, capsys):
    def decode(*args, **options):
        raise RuntimeError("broken kernel")

    monkeypatch.setattr("harness.runner.warm_up", lambda *args: None)
    monkeypatch.setattr(runner_decode, "decode", decode)
    assert command() == 3
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["failed"] == len(QUESTIONS)
    assert "broken kernel" in said.err


MISTAKES = {
    "unknown strategy": ({"strategies": "confidance"}, [], "did you mean confidence?"),
    "all that cannot run": (
        {"strategies": "all"},
        ["--gen-length", "4", "--block-length", "8"],
        "fixed: block length 8 exceeds generation length 4",
    ),
    "temperature": ({}, ["--temperature", "nan"], "must be finite"),
    "unknown preset": ({"strategies": "few-steps"}, [], "did you mean few-step?"),
    "unknown key": ({"strategies": "confidence:treshold=0.9"}, [], "did you mean threshold?"),
    "threshold out of range": (
        {"strategies": "confidence:threshold=1.5"},
        [],
        "threshold=1.5 is out of range",
    ),
    "two rules": ({"strategies": "fixed+entropy"}, [], "two rules"),
    "two caches": ({"strategies": "fixed+dual-cache+prefix-cache"}, [], "two caches"),
    "missing adapter": ({"strategies": "fixed@absent"}, [], "no adapter 'absent'"),
    "missing filter": ({"strategies": "learn2pd"}, [], "filter.safetensors"),
    "unknown model": ({}, ["--model", "lada-8b-instruct"], "did you mean 'llada-8b-instruct'"),
    "block over length": ({}, ["--gen-length", 8, "--block-length", 16], "block length 16 exceeds"),
    "prompt over context": ({}, ["--gen-length", 500], "exceeds the model's context of 512"),
    "zero batch": ({}, ["--batch-size", 0], "--batch-size is 0"),
    "unknown device": ({}, ["--device", "abacus"], "--device 'abacus' is unknown"),
    "other device": ({}, ["--device", "meta"], "--device 'meta' is unknown; use auto, cpu, cuda"),
    "unknown dtype": ({}, ["--dtype", "int3"], "--dtype 'int3' is unknown"),
    "not a number": ({}, ["--limit", "few"], "--limit 'few' is neither"),
    "missing plug-in": ({}, ["--plugin", "absent.py"], "absent.py is not a Python file"),
    "bad sweep": ({}, ["--sweep", "confidence"], "--sweep 'confidence'"),
    "missing config": ({}, ["--config", "absent.yaml"], "absent.yaml cannot be read"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(command, capsys, tmp_path, name):
    keywords, arguments, message = MISTAKES[name]
    assert command(*arguments, **keywords) == 2
    assert message in mistake(capsys)
    assert not (tmp_path / "run").exists()  # nothing is begun


def test_unknown_tasks_and_protocols_list_what_exists(checkpoint, capsys):
    base = ["run", "--model", str(checkpoint), "--strategies", "fixed"]
    assert main([*base, "--tasks", "demo-gsm9k"]) == 2
    assert "did you mean demo-gsm8k?" in mistake(capsys)
    assert main([*base, "--protocol", "dparalel"]) == 2
    assert "did you mean dparallel?" in mistake(capsys)


def test_a_directory_of_a_different_run_is_refused(command, capsys):
    assert command("--gen-length", 16) == 0
    capsys.readouterr()
    assert command("--gen-length", 8) == 2
    assert "gen_length of t1 16, not 8" in mistake(capsys)


@pytest.mark.parametrize("place", ["file", "below a file", "no permission"])
def test_an_output_that_cannot_be_written(command, capsys, tmp_path, monkeypatch, place):
    target = tmp_path / "file"
    target.touch()
    if place == "below a file":
        target = target / "run"
    elif place == "no permission":
        target = tmp_path / "locked"

        def mkdir(*args, **options):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("pathlib.Path.mkdir", mkdir)
    assert command("--output", target) == 2
    assert str(target) in mistake(capsys)


def test_a_model_without_tokenizer_or_with_truncated_weights(command, capsys, tmp_path, checkpoint):
    write_checkpoint(tmp_path / "mute", tokenizer=False)
    assert command("--model", tmp_path / "mute") == 2
    assert "no tokenizer files" in mistake(capsys)
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert command() == 2
    assert "model.safetensors" in mistake(capsys)
