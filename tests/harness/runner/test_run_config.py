"""Options of a run: flags over the file over defaults, and every mistake in them on one line."""

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.run_config import DEMO_LIMIT, DEMO_TASKS, RunConfig, combine


def write(tmp_path, text):
    path = tmp_path / "options.yaml"
    path.write_text(text)
    return path


def test_flags_override_the_file_and_the_file_the_defaults(tmp_path):
    path = write(
        tmp_path, "strategies: [fixed, 'fixed:steps=4,eos=last']\nlimit: 3\nbatch-size: 2\nmodel: m\n"
    )
    config = combine({"limit": 5, "model": None, "seed": 1}, path)
    assert (config.limit, config.model, config.batch_size, config.seed) == (5, "m", 2, 1)
    assert config.specs == ["fixed", "fixed:steps=4,eos=last"]
    assert config.tasks == DEMO_TASKS
    assert config.device == "auto"


def test_lengths_may_differ_by_task(tmp_path):
    config = combine({}, write(tmp_path, "gen_length: {a: 64, b: 32}\nblock_length: 16\ndata: here\n"))
    assert [config.length("gen_length", task) for task in "abc"] == [64, 32, None]
    assert config.length("block_length", "c") == 16
    assert config.data == Path("here")


def test_the_limit_shortens_the_demo_suites_alone():
    assert RunConfig().problem_limit == DEMO_LIMIT
    assert RunConfig(tasks=("gsm8k",)).problem_limit is None
    assert RunConfig(limit="all").problem_limit is None
    assert RunConfig(tasks=("gsm8k",), limit=7).problem_limit == 7


def test_a_sweep_stands_beside_named_strategies_or_alone():
    sweep = ("confidence:threshold=0.5..0.7/3",)
    swept = [f"confidence:threshold={value}" for value in ("0.5", "0.6", "0.7")]
    assert RunConfig(sweep=sweep).specs == swept
    assert RunConfig(strategies="fixed,all", sweep=sweep).specs == ["fixed", "all", *swept]
    assert RunConfig().specs == ["all"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("strategy: fixed", r"unknown option 'strategy'; did you mean strategies\? \(known: strategies, "),
        ("a: [", "is not YAML"),
        ("- fixed", "holds no `option: value` lines"),
        ("limit: [1]", "limit is .1., not of type int"),
        ("limit: some", "--limit 'some' is neither a number of problems nor all"),
        ("trace: 3", "trace is 3, not of type bool"),
        ("seed: true", "seed is True, not of type int"),
        ("gen_length: {a: long}", "gen_length is .* not of type int"),
        ("block_length: {a: 0}", "--block-length is 0; it must be at least 1"),
    ],
)
def test_a_malformed_file_is_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        combine({}, write(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    [
        {"batch_size": 0},
        {"limit": -1},
        {"temperature": -0.1},
        {"tune_fraction": 1.0},
        {"tasks": ()},
        {"strategies": " , "},
    ],
)
def test_impossible_options_are_refused(bad):
    with pytest.raises(UserError):
        RunConfig(**bad)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.yaml cannot be read"):
        combine({}, tmp_path / "absent.yaml")


def test_white_space_counts_only_inside_a_path():
    text = "learn2pd : filter = my runs/f.st , steps = 1/2, fixed"
    assert RunConfig(strategies=text).named == ["learn2pd:filter=my runs/f.st,steps=1/2", "fixed"]
    swept = RunConfig(sweep=("learn2pd:filter=my runs/f.st, threshold = 0.5..0.9/2",)).specs
    assert swept == [f"learn2pd:filter=my runs/f.st,threshold={value}" for value in (0.5, 0.9)]
