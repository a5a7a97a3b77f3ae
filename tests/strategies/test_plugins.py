"""Plug-ins: a file registers a rule that the grammar then knows; bad files are one-line errors."""

import re
from types import SimpleNamespace

import pytest

from strategies import SpecError, parse, plugins
from strategies.registry import PARTS

RULE = '''
from dataclasses import dataclass
import numpy as np
from strategies import UnmaskRule, register
from strategies.values import number

@dataclass(frozen=True)
class Half(UnmaskRule):
    """Commit the more confident half."""
    share: float = number(0.5, above=0.0, most=1.0)

    def admit(self, p, score):
        return p.confidence >= np.quantile(p.confidence, 1 - self.share, axis=1, keepdims=True)

register("rule", "half", Half, "here")
'''


@pytest.fixture(autouse=True)
def _untouched_registry():
    before = dict(PARTS)
    yield
    PARTS.clear()
    PARTS.update(before)


@pytest.fixture
def plugin(tmp_path):
    def write(text, name="plugin.py"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_a_file_adds_a_rule(plugin, chosen):
    plugins.load_file(plugin(RULE))
    made = parse("half:share=0.25+dual-cache")
    assert chosen(made.unmask, [0.2, 0.9, 0.4, 0.3]) == [1]
    assert PARTS["half"].source == "here"
    with pytest.raises(SpecError, match=r"known: .*half"):
        parse("nothing-like-it")


def test_a_rule_may_answer_in_torch(plugin, chosen):
    text = """
import torch
from strategies import UnmaskRule, register

class Two(UnmaskRule):
    def score(self, p):
        return torch.tensor(p.confidence) ** 2

    def admit(self, p, score):
        best = torch.from_numpy(score).topk(2, 1).indices
        return torch.zeros(score.shape, dtype=torch.bool).scatter(1, best, True)

register("rule", "two", Two)
"""
    plugins.load_file(plugin(text))
    assert chosen(parse("two").unmask, [0.2, 0.9, 0.4, 0.3]) == [1, 2]


def test_two_files_cannot_share_a_name(plugin):
    plugins.load_file(plugin(RULE))
    with pytest.raises(SpecError, match="'half' is already taken"):
        plugins.load_file(plugin(RULE, "second.py"))


def test_a_file_given_twice_is_run_once(plugin, tmp_path, monkeypatch):
    path = plugin(RULE)
    plugins.load_file(path)
    monkeypatch.chdir(tmp_path)
    plugins.load_file(path.name)
    assert parse("half")


def test_annotations_may_be_postponed(plugin):
    """A dataclass with textual annotations looks for its module among the loaded ones."""
    plugins.load_file(plugin("from __future__ import annotations\n" + RULE))
    assert parse("half:share=0.5").unmask.share == 0.5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("def", "failed: SyntaxError"),
        ("raise SystemExit(3)", "failed: SystemExit: 3"),
        ("import no_such_module_here", "failed: ModuleNotFoundError"),
        ("import strategies\nstrategies.register('rule', 'fixed', int)", "'fixed' is already taken"),
    ],
)
def test_a_file_that_fails_says_how(plugin, text, says):
    with pytest.raises(SpecError, match=says) as caught:
        plugins.load_file(plugin(text))
    assert "\n" not in str(caught.value)


def test_a_file_that_fails_leaves_no_part_behind(plugin):
    with pytest.raises(SpecError, match="ZeroDivisionError"):
        plugins.load_file(plugin(RULE + "\n1 / 0"))
    assert "half" not in PARTS
    plugins.load_file(plugin(RULE))
    assert "half" in PARTS


@pytest.mark.parametrize(
    ("body", "blame"),
    [
        ("[][0]", r"plugin.py, line 4, in fault: IndexError: list index out of range"),
        ("np.zeros(2).reshape(3)", r"plugin.py, line 4, in fault: ValueError: cannot reshape"),
        ("parse('nothing')", None),
        ("raise_(MemoryError())", None),
    ],
)
def test_only_what_arose_in_a_plug_in_is_its_fault(plugin, body, blame):
    text = RULE + "\nHalf.fault = fault\n"
    head = f"import numpy as np\nfrom strategies import parse\ndef fault(self):\n    return {body}\n"
    head += "def raise_(error):\n    raise error\n"
    plugins.load_file(plugin(head + text))
    with pytest.raises(Exception) as caught:  # noqa: PT011
        parse("half").unmask.fault()
    found = plugins.blamed(caught.value)
    assert found is None if blame is None else re.search(blame, found)


def test_paths_that_are_no_python_file(tmp_path, plugin):
    for path in (tmp_path / "absent.py", tmp_path, plugin("x = 1", "notes.txt")):
        with pytest.raises(SpecError, match="is not a Python file"):
            plugins.load_file(path)


def test_entry_points_are_run(monkeypatch):
    called = []
    points = [SimpleNamespace(value="a:register", load=lambda: lambda: called.append("a"))]
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: points if group == plugins.ENTRY_POINTS else []
    )
    plugins.load_entry_points()
    assert called == ["a"]

    def broken():
        raise ImportError("gone")

    points.append(SimpleNamespace(value="b:register", load=broken))
    with pytest.raises(SpecError, match="b:register failed: ImportError: gone"):
        plugins.load_entry_points()
