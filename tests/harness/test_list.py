"""`list` names everything there is, defaults and sources included."""

import pytest

from harness.cli import main
from harness.models.catalog import CATALOG
from strategies.registry import ALL, PARTS, PRESETS


def output(capsys, *arguments):
    assert main(["list", *arguments]) == 0
    return capsys.readouterr().out


def test_strategies_with_keys_defaults_sources_and_presets(capsys):
    out = output(capsys, "strategies")
    assert all(name in out for name in (*PARTS, *PRESETS))
    assert all(part.source in out for part in PARTS.values())
    assert "threshold=0.9" in out
    assert "remasking=low-confidence (random, margin, entropy)" in out
    listed = out.split("\nall\n")[1]
    assert "".join(listed.split()).split(",") == list(ALL)


def test_a_plug_ins_rule_is_listed(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("strategies.registry.PARTS", dict(PARTS))
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "from dataclasses import dataclass\n"
        "from strategies import UnmaskRule, register\n\n"
        "@dataclass(frozen=True)\nclass Shy(UnmaskRule):\n    patience: int = 2\n"
        "    def admit(self, p, score):\n        return score > 2\n\n"
        "register('rule', 'shy', Shy, 'a test')\n"
    )
    out = output(capsys, "strategies", "--plugin", str(plugin))
    assert "shy" in out
    assert "patience=2" in out


def test_models_tasks_and_protocols(capsys):
    assert all(name in output(capsys, "models") for name in CATALOG)
    tasks = output(capsys, "tasks")
    assert all(name in tasks for name in ("demo-gsm8k", "demo-mbpp", "gsm8k", "math", "humaneval", "mbpp"))
    protocols = output(capsys, "protocols")
    assert all(name in protocols for name in ("dparallel", "learn2pd", "fast-dllm", "d3llm", "demo"))


@pytest.mark.parametrize("arguments", [["list"], ["list", "recipes"]])
def test_an_unknown_kind_is_the_users_mistake(capsys, arguments):
    assert main(arguments) == 2
    assert "strategies" in capsys.readouterr().err or arguments == ["list"]
