"""demo-humaneval and demo-mbpp: short programs described in words, graded by running hidden assertions."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any

from harness.tasks.demo.common import Draft

FUNCTIONS = ("calc", "solve", "apply", "change", "compute", "adjust", "process", "shift", "update", "step")
ARGUMENTS = ("x", "n", "k", "a", "m", "y")
LISTS = ("xs", "nums", "values", "items")
STEPS = (2, 2, 3, 3, 4, 5)
PROBES = (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 17, 20)


@dataclass(frozen=True)
class Op:
    """One step of a program: how it is told and the lines it becomes, for a variable {v}."""

    told: str
    lines: tuple[str, ...]


def _simple(rng: random.Random) -> Op:
    """A step of one line."""
    number = rng.randint(1, 9)
    kind = rng.choice(("+", "+", "-", "-", "*", "%", "double"))
    if kind == "+":
        return Op(f"{rng.choice(('add', 'increase by'))} {number}", (f"{{v}} = {{v}} + {number}",))
    if kind == "-":
        return Op(f"{rng.choice(('subtract', 'decrease by'))} {number}", (f"{{v}} = {{v}} - {number}",))
    if kind == "*":
        factor = rng.randint(2, 9)
        return Op(f"multiply by {factor}", (f"{{v}} = {{v}} * {factor}",))
    if kind == "%":
        modulus = rng.randint(2, 9)
        return Op(f"take the remainder by {modulus}", (f"{{v}} = {{v}} % {modulus}",))
    return Op("double it", ("{v} = {v} * 2",))


def _condition(rng: random.Random) -> tuple[str, str]:
    """A test of {v}: its words and its code."""
    number = rng.randint(2, 20)
    return rng.choice(
        (
            (f"more than {number}", f"{{v}} > {number}"),
            (f"less than {number}", f"{{v}} < {number}"),
            ("even", "{v} % 2 == 0"),
            ("odd", "{v} % 2 == 1"),
        )
    )


def _op(rng: random.Random) -> Op:
    """A plain, conditional or repeated step."""
    inner = _simple(rng)
    kind = rng.random()
    if kind < 0.62:
        return inner
    if kind < 0.84:
        words, code = _condition(rng)
        return Op(f"if {words} {inner.told}", (f"if {code}:", *("    " + line for line in inner.lines)))
    times = rng.randint(2, 5)
    lines = (f"for i in range({times}):", *("    " + line for line in inner.lines))
    return Op(f"{times} times {inner.told}", lines)


def _pipeline(rng: random.Random) -> tuple[str, list[str], str]:
    """Steps on one number: (description, body lines without indentation, argument name)."""
    ops = [_op(rng) for _ in range(rng.choice(STEPS))]
    argument = rng.choice(ARGUMENTS)
    lines = [line.format(v=argument) for op in ops for line in op.lines]
    return f"{', then '.join(op.told for op in ops)}.", [*lines, f"return {argument}"], argument


def _listing(rng: random.Random) -> tuple[str, list[str], str]:
    """Steps on every number of a list, gathered into a sum, a count or a list."""
    ops = [_simple(rng) for _ in range(rng.choice((0, 1, 1, 2, 2, 3)))]
    told = [op.told for op in ops]
    inner = [line.format(v="v") for op in ops for line in op.lines]
    gather, start, keep = rng.choice(
        (
            ("sum them", "total = 0", "total = total + v"),
            ("count them", "total = 0", "total = total + 1"),
            ("collect them", "total = []", "total.append(v)"),
        )
    )
    inner.append(keep)
    if rng.random() < 0.6 or not ops:
        words, code = _condition(rng)
        told.insert(0, f"keep {words}")
        inner = [f"if {code.format(v='v')}:", *("    " + line for line in inner)]
    argument = rng.choice(LISTS)
    lines = [start, f"for v in {argument}:", *("    " + line for line in inner), "return total"]
    return f"{', '.join(told)}, {gather}.", lines, argument


def _outputs(source: str, name: str, inputs: list[Any]) -> list[tuple[str, str]]:
    """(argument, result) as text, of generated code, which only this module writes."""
    scope: dict[str, Any] = {}
    exec(source, scope)
    return [(repr(value), repr(scope[name](value))) for value in inputs]


@dataclass(frozen=True)
class Program:
    """A program, its description and some inputs with their results, as text."""

    told: str
    name: str
    argument: str
    body: str
    cases: list[tuple[str, str]]
    key: str

    @property
    def anonymous(self) -> str:
        """The body with a placeholder for the argument's name, which is no word of the language used."""
        return re.sub(rf"\b{self.argument}\b", "_", self.body)


def _program(rng: random.Random) -> Program:
    """One program with its description."""
    of_list = rng.random() < 0.3
    told, lines, argument = (_listing if of_list else _pipeline)(rng)
    name = rng.choice(FUNCTIONS)
    body = "".join(f"    {line}\n" for line in lines)
    if of_list:
        inputs: list[Any] = [rng.choices(PROBES, k=size) for size in (2, 5, 6, 4)] + [[]]
    else:
        inputs = rng.sample(PROBES[:9], 2) + rng.sample(PROBES[9:], 3)
    cases = _outputs(f"def {name}({argument}):\n{body}", name, inputs)
    return Program(told, name, argument, body, cases, f"{of_list} {told}")


def completion(rng: random.Random) -> Draft:
    """demo-humaneval: a signature and docstring, sometimes with an example; the body is asked for."""
    p = _program(rng)
    text = p.told[0].upper() + p.told[1:]
    example = f"    >>> {p.name}({p.cases[0][0]})\n    {p.cases[0][1]}\n" if rng.random() < 0.3 else ""
    close = f'\n{example}    """\n' if example else '"""\n'
    checks = "".join(f"    assert candidate({given}) == {result}\n" for given, result in p.cases[1:])
    doc = {
        "prompt": f'def {p.name}({p.argument}):\n    """{text}{close}',
        "entry_point": p.name,
        "canonical_solution": p.body,
        "test": f"def check(candidate):\n{checks}",
    }
    return Draft(f"humaneval {p.key}", doc, p.anonymous)


def function(rng: random.Random) -> Draft:
    """demo-mbpp: a description and one assertion; the task begins the function with its first line."""
    p = _program(rng)
    doc = {
        "text": f"Write a function {p.name}({p.argument}): {p.told}",
        "code": f"def {p.name}({p.argument}):\n{p.body}",
        "test_list": [f"assert {p.name}({given}) == {result}" for given, result in p.cases],
        "test_setup_code": "",
        "challenge_test_list": [],
    }
    return Draft(f"mbpp {p.key}", doc, p.anonymous)
