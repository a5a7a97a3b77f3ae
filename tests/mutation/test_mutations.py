"""The faults of mutations.py still fit the code: each text is there once, and its replacement is Python."""

import ast
import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SPEC = importlib.util.spec_from_file_location("mutations", HERE / "mutations.py")
mutations = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mutations)


@pytest.mark.parametrize(("name", "file", "text", "replacement"), mutations.MUTATIONS)
def test_a_fault_still_fits_the_code(name, file, text, replacement):
    source = (HERE.parents[1] / file).read_text()
    assert source.count(text) == 1, f"mend {name!r} in tests/mutation/mutations.py"
    ast.parse(source.replace(text, replacement))


def test_names_are_unique():
    names = [name for name, *_ in mutations.MUTATIONS]
    assert len(set(names)) == len(names)
