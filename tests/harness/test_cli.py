"""The command line's frame: unknown commands, help, and errors on one line."""

import pytest

from harness.cli import COMMANDS, main


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
