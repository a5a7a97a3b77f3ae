"""From response to program: fences, stop strings, whole functions and bare bodies."""

import pytest

from harness.tasks.postprocess import completion, cut, defined, fenced, function, longest_valid, sanitize

PROMPT = 'def add(a, b):\n    """Sum."""\n'
BODY = "    return a + b\n"
WHOLE = "import math\n\ndef add(a, b):\n    return a + b\n"
STOPS = ("\ndef", "\nprint")


def run(code):
    scope = {}
    exec(code, scope)
    return scope


def test_cut_takes_the_first_of_any_stop_string_and_ignores_empty_ones():
    assert cut("one two three two", ("two", "three", "")) == "one "
    assert cut("one", ("two",)) == "one"


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("Here:\n```\nx = 1\n```\nand\n```python\ny\n```", "y\n"),
        ("Here:\n```\nx = 1\n```\nand\n```\ny\n```", "x = 1\n"),
        ("```py\nx = 1", "x = 1"),
        ("Look:\n```\nx = 1", "x = 1"),
        ("x = 1\n```\nmore", None),
        ("    return 1\n```\nmore", None),
        ("x = 1", None),
        ("use ```x``` here", None),
    ],
)
def test_fenced(response, code):
    assert fenced(response) == code


@pytest.mark.parametrize(
    "response",
    [
        BODY,
        "    return a + b\n```\nThat is all.",
        "    return a + b\n\ndef check():\n    1 / 0",
        f"```python\n{WHOLE}```",
        f"Sure!\n```python\n{WHOLE}print(add(1))\n```\nIt adds.",
        f"```python\n{WHOLE}",
        f"```python\n{WHOLE}assert add(1, 1) == 3\n```",
        WHOLE,
        PROMPT + BODY,
        f"```python\n{WHOLE}def other(:\n```",
    ],
)
def test_a_completion_may_be_a_body_or_a_function_in_a_fence_or_not(response):
    assert run(completion(PROMPT, response, "add", "", STOPS))["add"](2, 3) == 5


def test_a_bare_body_is_joined_as_it_is():
    damaged = "    return a +\n"
    assert completion(PROMPT, damaged, "add", "", STOPS) == PROMPT + damaged


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize(
    "response",
    [
        WHOLE,
        f"```python\n{WHOLE}```",
        f"[BEGIN]\n{WHOLE}[DONE]\nmore",
        f"{WHOLE}```\nmore",
        f"Yes:\n```\n{WHOLE}",
    ],
)
def test_an_mbpp_function_may_stand_between_marks_or_in_a_fence(response, clean):
    assert run(function(response, clean))["add"](2, 3) == 5


def test_sanitize_keeps_definitions_and_drops_what_would_run():
    code = "import os\nN = 2\nclass A:\n    pass\ndef f(x):\n    return x * N\n"
    kept = run(sanitize(code + "print(f(1))\nassert f(1) == 3\nf(1)(2)\n"))
    assert kept["f"](2) == 4
    assert "A" in kept


def test_sanitize_keeps_what_the_entry_point_needs_and_no_more():
    code = "def g(x):\n    return x + 1\ndef f(x):\n    return g(x)\nbroken = f(1, 2)\n"
    assert run(sanitize(code, ["f"]))["f"](1) == 2
    assert "broken" not in sanitize(code, ["f"])


def test_a_helper_of_the_prompt_that_only_the_tests_call_stays():
    prompt = f"def helper(x):\n    return x\n\n{PROMPT}"
    kept = completion(prompt, f"```python\n{WHOLE}```", "add", "assert helper(1) == add(0, 1)", STOPS)
    assert run(kept)["helper"](1) == 1


def test_the_longest_valid_run_of_lines():
    assert longest_valid("So:\nx = 1\ny = 2\nwhich gives\nz = 3") == "x = 1\ny = 2"
    assert longest_valid("( (") == ""
    assert sanitize("no code at all here") == ""


def test_defined_names():
    assert defined("import os\ndef f(): pass\nclass A: pass\nx = y = 1\na, b = 1, 2") == {
        "f",
        "A",
        "x",
        "y",
        "a",
        "b",
    }
    assert defined("def (") == set()


def test_code_nested_too_deeply_to_be_written_anew_stays_as_it_is():
    """A model that repeats itself writes such; the others of its file must still be judged."""
    deep = f"X = {'+'.join('1' * 800)}\n"
    code = f"{deep}def f(x):\n    return x + X\n"
    assert run(sanitize(code))["f"](2) == 802
    assert sanitize(code, ["f"]).startswith("X = 1+1")
