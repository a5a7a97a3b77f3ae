"""Small benchmark files in the form of the real ones, written for the tests."""

import json

import pytest

GSM8K = [
    {
        "question": f"Ann has {n} pens and buys {n}. How many?",
        "answer": f"{n} + {n} = <<{n}+{n}={2 * n}>>\n#### {2 * n}",
    }
    for n in range(1000, 1012)
]
MATH = [
    {
        "problem": "What is half of 1?",
        "level": "1",
        "type": "A",
        "solution": r"It is $\boxed{\frac{1}{2}}$.",
        "idx": 0,
    },
    {
        "problem": "Name the interval.",
        "level": "1",
        "type": "A",
        "solution": r"It is $\boxed{(0,2]}$.",
        "idx": 1,
    },
    {"problem": "Solve $2x=14$.", "level": "1", "type": "A", "solution": r"So $x=\boxed{7}$.", "idx": 2},
]
HUMANEVAL = [
    {
        "task_id": "T/0",
        "prompt": 'import math\n\n\ndef area(r):\n    """Area of a circle."""\n',
        "entry_point": "area",
        "canonical_solution": "    return math.pi * r * r\n",
        "test": "\n\ndef check(candidate):\n"
        "    assert abs(candidate(1) - 3.14159) < 1e-3\n    assert candidate(0) == 0\n",
    },
    {
        "task_id": "T/1",
        "prompt": 'def twice(xs):\n    """Every item twice.\n    >>> twice([1])\n    [1, 1]\n    """\n',
        "entry_point": "twice",
        "canonical_solution": "    out = []\n    for x in xs:\n        out += [x, x]\n    return out\n",
        "test": "def check(candidate):\n"
        "    assert candidate([1]) == [1, 1]\n    assert candidate([]) == []\n",
    },
]


def mbpp(task_id, name, body, tests, setup=""):
    return {
        "text": f"Write a function {name}.",
        "code": f"def {name}(a, b):\r\n    {body}",
        "task_id": task_id,
        "test_setup_code": setup,
        "test_list": [f"assert {name}{test}" for test in tests],
        "challenge_test_list": [],
    }


MBPP = [
    mbpp(1, "unused", "return 0", ["(1, 2) == 0"] * 3),
    mbpp(11, "add", "return a + b", ["(1, 2) == 3", "(0, 0) == 0", "(5, 1) == 6"]),
    mbpp(12, "sum", "return a * b", ["(1, 2) == 2", "(0, 0) == 0", "(5, 1) == 5"]),
    mbpp(
        367, "least", "return min(a, b)", ["(root, 2) == 1", "(3, 3) == 3", "(root, root) == 1"], "root = 1"
    ),
    mbpp(511, "unused", "return 0", ["(1, 2) == 0"] * 3),
]
FILES = {
    "gsm8k_test": GSM8K[:4],
    "gsm8k_train": GSM8K[4:],
    "math_test": MATH,
    "math500_test": MATH,
    "humaneval": HUMANEVAL,
    "mbpp": MBPP,
}


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """A directory for `--data` with a few rows of each benchmark."""
    folder = tmp_path_factory.mktemp("data")
    for name, rows in FILES.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="session")
def datasets_dir(shared):
    """The real benchmark files."""
    return shared / "datasets"


@pytest.fixture(scope="session")
def real_rows(datasets_dir):
    """`real_rows(name)`: the rows of one real file."""
    return lambda name: [json.loads(line) for line in (datasets_dir / f"{name}.jsonl").open(encoding="utf-8")]
