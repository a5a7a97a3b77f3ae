"""demo-math: small mathematics of two to six dependent steps, with solutions that end in a boxed number."""

from __future__ import annotations

import random

from harness.tasks.demo.common import DIGIT, TOP, Draft, Sum, chain, step

LETTERS = "abcdpqrstuvw"


def _draft(kind: str, key: str, problem: str, worked: list[str], result: int) -> Draft:
    solution = f"{', '.join(worked)}. \\boxed{{{result}}}"
    return Draft(f"math {kind} {key}", {"problem": problem, "solution": solution})


def nested(rng: random.Random) -> Draft:
    """An expression whose brackets are worked from the inside."""
    steps = chain(rng, rng.choice((2, 3, 3, 4, 4, 5, 6)))
    text = str(steps[0].left)
    for index, s in enumerate(steps):
        text = f"({text})" if index else text
        text += f"{s.op}{s.right}"
    return _draft("nested", text, f"Compute {text}.", [str(s) for s in steps], steps[-1].result)


def defined(rng: random.Random) -> Draft:
    """Variables that are defined from one another; the last one is asked for."""
    letters = rng.sample(LETTERS, rng.choice((3, 3, 4, 4, 5, 6)))
    values = [rng.randint(2, DIGIT)]
    told, worked = [f"{letters[0]}={values[0]}"], [f"{letters[0]}={values[0]}"]
    key = [str(values[0])]
    for index in range(1, len(letters)):
        left = values[-1]
        s = step(rng, left)
        right, shown = s.right, str(s.right)
        earlier = [i for i in range(index - 1) if values[i] <= DIGIT]
        if earlier and rng.random() < 0.15:
            pick = rng.choice(earlier)
            for op, result in (("+", left + values[pick]), ("-", left - values[pick])):
                if 1 <= result <= TOP and op != "*":
                    s, right, shown = Sum(left, op, values[pick], result), values[pick], letters[pick]
                    key.append(f"v{pick}")
                    break
        told.append(f"{letters[index]}={letters[index - 1]}{s.op}{shown}")
        worked.append(f"{letters[index]}={left}{s.op}{right}={s.result}")
        key.append(f"{s.op}{right}")
        values.append(s.result)
    problem = f"Let {', '.join(told)}. Find {letters[-1]}."
    return _draft("defined", " ".join(key), problem, worked, values[-1])


def solved(rng: random.Random) -> Draft:
    """An equation in x that is undone from the outside."""
    steps = chain(rng, rng.choice((2, 2, 3, 3, 4)), start=rng.randint(2, 9))
    shown, lefts = "x", []
    for index, s in enumerate(steps):
        shown = f"({shown})" if index else shown
        lefts.append(shown)
        shown += f"{s.op}{s.right}"
    undo = {"+": "-", "-": "+", "*": "/"}
    worked = [
        f"{left}={s.result}{undo[s.op]}{s.right}={s.left}" for left, s in zip(lefts, steps, strict=True)
    ]
    problem = f"Solve {shown}={steps[-1].result}."
    return _draft("solved", problem, problem, worked[::-1], steps[0].left)


def sequence(rng: random.Random) -> Draft:
    """A term of a sequence with a constant step, reached by counting."""
    term, by = rng.randint(3, 7), rng.randint(1, DIGIT)
    op = rng.choice("+-")
    reach = by * (term - 1)
    while reach >= TOP:
        term -= 1
        reach = by * (term - 1)
    start = rng.randint(1, TOP - reach) + (reach if op == "-" else 0)
    values = [start + (by if op == "+" else -by) * i for i in range(term)]
    worked = [f"{i + 1}: {values[i - 1]}{op}{by}={values[i]}" for i in range(1, term)]
    verb = "adds" if op == "+" else "subtracts"
    problem = f"A sequence starts at {start} and {verb} {by} each time. Find term {term}."
    return _draft("sequence", f"{start}{op}{by} {term}", problem, worked, values[-1])


def make(rng: random.Random) -> Draft:
    """One problem of a template chosen at random."""
    return rng.choices((nested, defined, solved, sequence), (35, 30, 15, 20))[0](rng)
