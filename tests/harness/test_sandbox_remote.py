"""What crosses between a candidate and its judge: plain values as copies, everything else as handles."""

import io
import os
import pickle
import threading
from collections import Counter, OrderedDict, deque, namedtuple
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from harness import sandbox
from harness.sandbox import Program, run_programs
from harness.sandbox_remote import OPERATIONS, Gone, Peer, Reader, Remote

Point = namedtuple("Point", "x y")


class Always(int):
    """A number that claims to be every number."""

    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


@pytest.fixture
def judge():
    """The judge's end; the other is served by a thread of this process and does "give" and "call"."""
    asked, replied = os.pipe(), os.pipe()
    table = {}
    other = Peer(asked[0], replied[1], {**OPERATIONS, "give": table.__getitem__})
    thread = threading.Thread(target=other.serve, daemon=True)
    thread.start()
    peer = Peer(replied[0], asked[1], {})
    peer.table = table
    yield peer
    os.close(asked[1])
    thread.join(10)
    for descriptor in (asked[0], *replied):
        os.close(descriptor)


def given(judge, value):
    judge.table["it"] = value
    return judge.ask("give", "it")


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, -3, 10**30, 2.5, -0.0, "é", b"x", [1, [2]], (1, {"a": {3}}), {1: None}),
        *(3 + 4j, range(2, 9, 3), Counter("aab"), OrderedDict(b=1, a=2), deque([1, 2], 5)),
        *(Fraction(1, 3), Decimal("1.10"), date(2020, 2, 29), timedelta(3)),
    ],
    ids=repr,
)
def test_plain_values_and_the_librarys_cross_as_equal_ones_of_their_type(judge, value):
    result = given(judge, value)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Always(3), 3),
        (Point(1, 2), (1, 2)),
        (np.float64(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        ([Always(1)], [1]),
    ],
    ids=repr,
)
def test_subclasses_cross_as_their_base(judge, value, plain):
    result = given(judge, value)
    assert result == plain
    assert type(result) is type(plain)
    assert result != 99


def test_other_objects_stay_and_are_used_from_afar(judge):
    class Tree:
        def __init__(self, value, left=None):
            self.value, self.left = value, left

        def depth(self, more=0):
            return 1 + more + (0 if self.left is None else self.left.depth())

        def __eq__(self, other):
            return True

        __hash__ = None

        def __bool__(self):
            return False

    make = given(judge, Tree)
    leaf = make(5)
    root = make(1, left=leaf)
    assert isinstance(root, Remote)
    assert root.depth(more=10) == 12
    assert root.left is leaf
    root.left.value = 6
    assert leaf.value == 6
    assert not leaf
    assert root != 1
    assert root != leaf
    assert list(given(judge, (n * n for n in range(4)))) == [0, 1, 4, 9]
    assert 4 in given(judge, map(int, "245"))
    assert dict(given(judge, {"a": 1}.items())) == {"a": 1}


def test_arguments_are_changed_as_the_call_changes_them(judge):
    items, names, seen = [3, 1, 2], {"a": 1}, {1}

    def change(a, b, c):
        a.sort()
        b["z"] = 2
        c.clear()
        return a

    assert given(judge, change)(items, names, seen) == [1, 2, 3]
    assert (items, names, seen) == ([1, 2, 3], {"a": 1, "z": 2}, set())


def test_exceptions_are_raised_as_pythons_own(judge):
    class Mine(KeyError):
        pass

    def fail():
        raise Mine("lost")

    with pytest.raises(KeyError, match="lost"):
        given(judge, fail)()
    with pytest.raises(ZeroDivisionError):
        given(judge, lambda: 1 // 0)()
    with pytest.raises(SystemExit):
        given(judge, lambda: exit(0))()


def test_functions_of_the_tests_can_be_called_and_nothing_else_of_theirs(judge):
    assert given(judge, lambda function, x: function(x) + 1)(lambda x: 2 * x, 4) == 9
    assert given(judge, lambda kind, x: kind(x))(int, "4") == 4
    with pytest.raises((AttributeError, KeyError)):
        given(judge, lambda function: function.secret)(lambda: None)


def test_a_message_can_name_no_class(judge):
    for data in (pickle.dumps(os.system), pickle.dumps(Fraction(1, 2)), pickle.dumps(Counter)):
        with pytest.raises(ValueError, match="named"):
            Reader(io.BytesIO(data), judge).load()
    with pytest.raises(ValueError, match="reference"):
        judge.resolve("named", "os", "system")
    with pytest.raises(ValueError, match="reference"):
        judge.resolve("new", "os", "system", ("true",))


def test_the_end_of_the_other_is_noticed():
    asked, replied = os.pipe(), os.pipe()
    os.close(replied[1])
    with pytest.raises(Gone):
        Peer(replied[0], asked[1], {}).ask("start")
    for descriptor in (*asked, replied[0]):
        os.close(descriptor)


def test_tests_use_what_the_candidate_defines_and_imports():
    if sandbox.available_backend() is None:
        pytest.skip("this machine offers neither bubblewrap nor Linux namespaces")
    programs = [
        Program(
            "class P:\n    def __init__(s, a):\n        s.a = a\ndef f(ps):\n    return [p.a for p in ps]",
            "assert f([P(1), P('x')]) == [1, 'x']",
            frozenset({"f", "P"}),
        ),
        Program(
            "import sys\ndef f(x):\n    return sys.getsizeof(x)", "assert f((1, 2)) == sys.getsizeof((1, 2))"
        ),
        Program("from math import isclose as near\ndef f(x):\n    return x / 3", "assert near(f(1), 1 / 3)"),
        Program("def f(x):\n    return math.pi * x", "import math\nassert f(1) == math.pi"),
        Program(
            "def f(x):\n    yield from range(x)",
            "def check(c):\n    assert list(c(3)) == [0, 1, 2]\ncheck(f)",
        ),
        Program("root = [1]\ndef f(r):\n    return r is root", "assert f(root) in (True, False)"),
    ]
    assert [v.error for v in run_programs(programs)] == [None] * len(programs)
