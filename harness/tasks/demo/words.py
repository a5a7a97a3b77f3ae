"""demo-gsm8k: word problems of two to six dependent steps, with worked answers that end in `#### N`."""

from __future__ import annotations

import random

from harness.tasks.demo.common import DIGIT, TOP, Draft, Sum, chain, step

NAMES = ("Tom", "Ann", "Ben", "Mia", "Sam", "Eva", "Leo", "Zoe")
ITEMS = ("coins", "pens", "books", "cards", "shells", "apples", "stamps", "beads")
VERBS = {
    "+": ("finds", "buys", "wins", "gets", "makes", "picks"),
    "-": ("loses", "sells", "gives", "drops", "trades", "lends"),
}
TIMES = {2: "doubles", 3: "triples"}
STEPS = (2, 3, 3, 4, 4, 5, 6)


def _draft(kind: str, steps: list[Sum], question: str, answer: str) -> Draft:
    key = f"gsm8k {kind} " + " ".join(map(str, steps))
    return Draft(key, {"question": question, "answer": f"{answer}\n#### {steps[-1].result}"})


def _clauses(rng: random.Random, steps: list[Sum]) -> list[str]:
    """What happens at each step, as `buys 5` or `doubles`; no verb of gain or loss comes twice."""
    verbs = {op: rng.sample(words, len(words)) for op, words in VERBS.items()}
    return [TIMES[s.right] if s.op == "*" else f"{verbs[s.op].pop()} {s.right}" for s in steps]


def _told(name: str, clauses: list[str]) -> str:
    return " ".join(f"{name} {clause}{'' if clause[-1].isdigit() else ' them'}." for clause in clauses)


def running(rng: random.Random) -> Draft:
    """A total that one person's purchases, losses and doublings change."""
    steps = chain(rng, rng.choice(STEPS), multiply=0.15)
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    clauses = _clauses(rng, steps)
    told = _told(name, clauses)
    question = f"{name} has {steps[0].left} {item}. {told} How many {item} are left?"
    worked = " ".join(f"{clause}: {s}." for clause, s in zip(clauses, steps, strict=True))
    worked = f"{steps[0].left} {item}. {worked}"
    return _draft("running", steps, question, worked)


def explained(rng: random.Random) -> Draft:
    """The same kind of story, answered in full sentences: the longest answers of the suite."""
    steps = chain(rng, rng.choice((3, 4, 5, 6)), multiply=0.15)
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    clauses = _clauses(rng, steps)
    told = _told(name, clauses)
    question = f"Explain each step. {name} has {steps[0].left} {item}. {told} How many {item} are left?"
    worked = " ".join(
        f"Then {clause}, so {s}. Now there are {s.result} {item}."
        for clause, s in zip(clauses, steps, strict=True)
    )
    worked = f"Start with {steps[0].left} {item}. {worked}"
    return _draft("running", steps, question, worked)


def compared(rng: random.Random) -> Draft:
    """People who have more, fewer or times as many as somebody named before."""
    count = rng.choice((2, 3, 3, 4, 4, 5))
    people, item = rng.sample(NAMES, count + 1), rng.choice(ITEMS)
    held = [rng.randint(2, 12)]
    steps, told, worked = [], [f"{people[0]} has {held[0]} {item}."], [f"Start: {held[0]}."]
    for index in range(count):
        base = index if rng.random() < 0.85 else rng.randrange(index + 1)
        s = step(rng, held[base])
        relation = {"+": "more than", "-": "fewer than", "*": "times as many as"}[s.op]
        told.append(f"{people[index + 1]} has {s.right} {relation} {people[base]}.")
        worked.append(f"{people[index + 1]}: {s}.")
        steps.append(s)
        held.append(s.result)
    question = f"{' '.join(told)} How many {item} does {people[-1]} have?"
    return _draft("compared", steps, question, " ".join(worked))


def grouped(rng: random.Random) -> Draft:
    """Bags of equal size, then gains and losses, some of them in equal groups as well."""
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    bags, each = rng.randint(2, 6), rng.randint(2, 6)
    total = bags * each
    steps = [Sum(bags, "*", each, total)]
    told, worked = [f"{name} has {bags} bags of {each} {item}."], [f"bags: {steps[0]}."]
    verbs = {op: rng.sample(words, len(words)) for op, words in VERBS.items()}
    for _ in range(rng.randint(1, 3)):
        many, size = rng.randint(2, 4), rng.randint(2, 4)
        op = "+" if total + many * size <= TOP and rng.random() < 0.5 else "-"
        if many * size > DIGIT or (op == "-" and total <= many * size) or rng.random() < 0.4:
            s = step(rng, total, multiply=0)
            verb = verbs[s.op].pop()
            told.append(f"{name} {verb} {s.right}.")
            worked.append(f"{verb} {s.right}: {s}.")
        else:
            group = Sum(many, "*", size, many * size)
            s = Sum(total, op, group.result, total + group.result if op == "+" else total - group.result)
            verb = verbs[op].pop()
            told.append(f"{name} {verb} {many} bags of {size}.")
            worked.append(f"{verb} {group}: {s}.")
            steps.append(group)
        steps.append(s)
        total = s.result
    question = f"{' '.join(told)} How many {item} are left?"
    return _draft("grouped", steps, question, " ".join(worked))


def make(rng: random.Random) -> Draft:
    """One problem of a template chosen at random."""
    return rng.choices((running, compared, grouped, explained), (38, 27, 23, 12))[0](rng)
