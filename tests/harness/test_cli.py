"""The command line's frame: unknown commands, help, and errors on one line."""

import re

import pytest

from harness.cli import COMMANDS, main
from strategies import registry


def test_unknown_command_lists_what_exists(capsys):
    assert main(["frobnicate"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(name in error for name in COMMANDS)


def test_no_command_prints_help(capsys):
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([name, "--help"])
    assert exit_.value.code == 0
    assert f"harness {name}" in capsys.readouterr().out


def test_a_missing_option_is_the_users_mistake(capsys):
    assert main(["generate", "--strategy", "fixed"]) == 2
    assert "--input" in capsys.readouterr().err


PLUGIN = """
from dataclasses import dataclass
from strategies import UnmaskRule, register

@dataclass(frozen=True)
class Faulty(UnmaskRule):
    wide: bool = False

    def admit(self, p, score):
        return score[:, :1] >= 0 if self.wide else score >= self.no_such_key

register("rule", "faulty", Faulty)
"""


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("faulty", r"plugin.py, line 10, in admit: AttributeError: 'Faulty' object has no attribute"),
        ("faulty:wide=true", r"Faulty.admit\(\) answers bool of shape \[1, 1\], not bool of shape \[1, 8\]"),
    ],
)
def test_a_plug_in_that_fails_is_named_on_one_line(tmp_path, capsys, spec, says):
    before = dict(registry.PARTS)
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "in.jsonl").write_text('{"id": 1, "prompt": "Compute 3+4."}')
    lengths = ["--gen-length", "8", "--block-length", "8"]
    paths = ["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl")]
    try:
        plugin = ["--plugin", str(tmp_path / "plugin.py"), "--strategy", spec]
        assert main(["generate", "--model", "demo", *plugin, *paths, *lengths]) == 2
    finally:
        registry.PARTS.clear()
        registry.PARTS.update(before)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(says, error)


def test_an_interrupted_command_says_so(capsys, monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.cli._dispatch", interrupted)
    assert main(["generate"]) == 3
    assert capsys.readouterr().err == "interrupted\n"
