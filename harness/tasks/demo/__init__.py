"""The demo suites: procedurally generated analogues of the four benchmarks, from a seed."""

from __future__ import annotations

import random
from typing import Any

from harness.errors import UserError
from harness.tasks.demo import maths, programs, words
from harness.tasks.demo.common import draw

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


def generate(suite: str, split: str = "test", count: int = COUNT, seed: int = SEED) -> list[Doc]:
    """`count` problems of a suite, the same ones for the same seed, with the real set's field names.

    The hash of a problem's skeleton decides its split, so that train and test are disjoint for every seed;
    test problems have different skeletons. Raises UserError for an unknown suite or split.
    """
    if suite not in MAKERS:
        raise UserError(f"unknown demo suite {suite!r}; there are {', '.join(SUITES)}")
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r} of {suite}; there are {', '.join(SPLITS)}")
    rng = random.Random(f"{seed} {suite} {split}")
    docs = draw(MAKERS[suite], rng, split, count, unique=split == "test")
    return [{"task_id": f"{suite}/{index}", "suite": suite, **doc} for index, doc in enumerate(docs)]


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
