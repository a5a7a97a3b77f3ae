"""The demo suites: procedurally generated analogues of the four benchmarks, from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.tasks.demo import maths, programs, words
from harness.tasks.demo.common import Draft, draw, fingerprint

Doc = dict[str, Any]
SEED = 2026
COUNT = 400  # test problems a suite
SPLITS = ("train", "test")
MAKERS = {
    "demo-gsm8k": words.make,
    "demo-math": maths.make,
    "demo-humaneval": programs.completion,
    "demo-mbpp": programs.function,
}
SUITES = tuple(MAKERS)
PROGRAMS = ("demo-humaneval", "demo-mbpp")  # the suites whose answers are programs
WITHHELD = Path(__file__).with_name("withheld.txt")
DIGITS = 12  # of a fingerprint


def generate(suite: str, split: str = "test", count: int = COUNT, seed: int = SEED) -> list[Doc]:
    """`count` problems of a suite, the same ones for the same seed, with the real set's field names.

    The hash of a problem's skeleton decides its split, so that train and test are disjoint for every seed;
    test problems differ in their skeletons. The skeleton of a program is its description, and one program has
    several: so no train problem, of any seed, has a program of the default test sets, and those leave out the
    programs that the shipped models were trained on in other words (`withheld`).
    Raises UserError for an unknown suite or split.
    """
    if suite not in MAKERS:
        raise UserError(f"unknown demo suite {suite!r}; there are {', '.join(SUITES)}")
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r} of {suite}; there are {', '.join(SPLITS)}")
    docs = (draft.doc for draft in islice(_drafts(suite, split, seed), count))
    return [{"task_id": f"{suite}/{index}", "suite": suite, **doc} for index, doc in enumerate(docs)]


def _drafts(suite: str, split: str, seed: int) -> Iterator[Draft]:
    """Endless problems of a suite without those whose programs belong to the other split."""
    rng = random.Random(f"{seed} {suite} {split}")
    other = withheld() if split == "test" else tested_programs()
    for draft in draw(MAKERS[suite], rng, split):
        if not draft.program or fingerprint(draft.program)[:DIGITS] not in other:
            yield draft


@cache
def withheld() -> frozenset[str]:
    """Fingerprints of programs that no test set has: `python -m training.withheld` lists them."""
    return frozenset(WITHHELD.read_text(encoding="utf-8").split())


@cache
def tested_programs() -> frozenset[str]:
    """Fingerprints of the programs of the default test sets."""
    drafts = (draft for suite in PROGRAMS for draft in islice(_drafts(suite, "test", SEED), COUNT))
    return frozenset(fingerprint(draft.program)[:DIGITS] for draft in drafts)


def prompt_text(doc: Doc) -> str:
    """What the user asks the model, before the chat template."""
    if "question" in doc:
        return doc["question"]
    if "problem" in doc:
        return doc["problem"]
    if "prompt" in doc:
        return doc["prompt"]
    return f"{doc['text']}\n{doc['test_list'][0]}"


def gold_response(doc: Doc) -> str:
    """The answer a perfect model would give; it passes the suite's own grading."""
    gold = doc.get("answer") or doc.get("solution") or doc.get("canonical_solution") or doc["code"]
    return gold.rstrip("\n")
