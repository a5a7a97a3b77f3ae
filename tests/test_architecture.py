"""The arrows of DESIGN.md, and the habits of the house that a machine can check."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("harness", "strategies", "training", "results")
DECODER, LOOP = "harness/decoding/decoder.py", "harness/decoding/loop.py"
ENGINE = "harness/models/engine.py"
# What each part may not import. Inside harness: cli -> runner -> (tasks, decoding) -> models.
FORBIDDEN = {
    "strategies": ("harness", "training", "results"),
    "results": ("harness", "training", "strategies", "torch", "transformers"),
    "harness": ("training",),
    "harness/models": (
        "harness.decoding",
        "harness.tasks",
        "harness.runner",
        "harness.cli",
        "harness.commands",
    ),
    "harness/decoding": ("harness.tasks", "harness.runner", "harness.cli", "harness.commands"),
    "harness/tasks": ("harness.decoding", "harness.runner", "harness.cli", "harness.commands"),
}


def sources(folder):
    return sorted((ROOT / folder).rglob("*.py"))


@cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path):
    """Dotted names a file imports, at the top or inside functions."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).with_suffix("").parts[: -node.level] if node.level else ()
            module = ".".join((*package, *([node.module] if node.module else [])))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def every_file():
    return [path for package in PACKAGES for path in sources(package)]


def named(path):
    return str(path.relative_to(ROOT))


def test_the_packages_are_all_there():
    assert all(sources(package) for package in PACKAGES)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_one_way(folder):
    wrong = [
        f"{named(path)} imports {name}"
        for path in sources(folder)
        for name in imports(path)
        if any(name == barred or name.startswith(barred + ".") for barred in FORBIDDEN[folder])
    ]
    assert not wrong


def test_nothing_imports_training():
    outside = [path for path in every_file() if "training" not in path.relative_to(ROOT).parts]
    assert not [named(p) for p in outside if any(name.split(".")[0] == "training" for name in imports(p))]


def calls(path):
    """The bare name of everything a file calls."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", None) or getattr(node.func, "id", "")


def loops(path):
    return [node for node in ast.walk(parsed(path)) if isinstance(node, ast.While)]


def test_strategies_neither_loop_until_done_nor_call_a_model():
    """Rules answer questions about one step; only the decode loop runs the model, and only it repeats."""
    for path in sources("strategies"):
        assert not loops(path), named(path)
        assert not {"forward_packed", "logits", "model", "denoiser"} & set(calls(path)), named(path)


def test_there_is_one_decode_loop():
    """One `while` in decoding, and one owner of what calls the decode-time forward, anywhere."""
    assert {named(p): len(loops(p)) for p in sources("harness/decoding") if loops(p)} == {LOOP: 1}
    called = [(name, named(path)) for path in every_file() for name in calls(path)]
    assert [path for name, path in called if name == "forward_packed"] == [ENGINE]
    assert [path for name, path in called if name == "ForwardEngine"] == [DECODER]


def test_generation_functions_are_not_multiplied():
    """No `generate_with_dual_cache` and its like: parts are composed by a spec, not by name."""
    part = re.compile(r"(generate|decode|sample)_\w*(prefix|dual|cache|threshold|factor|entropy|fixed|eotp)")
    functions = [
        node for p in every_file() for node in ast.walk(parsed(p)) if isinstance(node, ast.FunctionDef)
    ]
    assert not [node.name for node in functions if part.search(node.name)]


def test_no_token_id_is_written_down():
    """Special tokens come from the checkpoint; ids of the 8B models lie between these bounds."""
    wrong = [
        f"{named(path)}:{node.lineno}: {node.value}"
        for path in every_file()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and type(node.value) is int and 100_000 < node.value < 200_000
    ]
    assert not wrong


def test_files_stay_under_300_lines():
    long = {named(path): n for path in every_file() if (n := len(path.read_text().splitlines())) >= 300}
    assert not long


def test_every_module_says_what_it_is():
    silent = [named(p) for p in every_file() if p.read_text().strip() and not ast.get_docstring(parsed(p))]
    assert not silent


def test_nothing_is_left_for_later():
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert not [named(path) for path in every_file() if marks.search(path.read_text())]
