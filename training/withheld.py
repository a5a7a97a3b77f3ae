"""`python -m training.withheld`: list the programs that the demo suites' test sets must leave out.

The split of a program is decided by its description, and one program can be described in several ways: so
programs whose descriptions belong to the test split may stand in the training data in other words. This goes
through the test split's draws and prints the fingerprint of each program that the recipe's training data or
the problems of the shipped adapters' trajectories contain, until the default test sets are full. The output
belongs in harness/tasks/demo/withheld.txt; tests/training/test_withheld.py holds the file against the data.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

from harness.tasks.demo import COUNT, DIGITS, MAKERS, PROGRAMS, SEED
from harness.tasks.demo.common import Draft, draw, fingerprint
from training.pretrain_recipe import Recipe

TRAJECTORIES = 600  # train problems a suite, of which the shipped adapters and filter learned (their cards)


def drafts(suite: str, split: str, seed: int) -> Iterator[Draft]:
    """The draws of a split before any program is left out."""
    return draw(MAKERS[suite], random.Random(f"{seed} {suite} {split}"), split)


def trained_on() -> set[str]:
    """The programs of both suites that the shipped models have seen, whatever their description."""
    recipe = Recipe()
    draws = ((recipe.seed, recipe.programs), (SEED, TRAJECTORIES))
    return {
        draft.program
        for suite in PROGRAMS
        for seed, count in draws
        for draft in islice(drafts(suite, "train", seed), count)
    }


def withheld(seen: set[str]) -> set[str]:
    """Fingerprints of the programs among the test draws that are in `seen`, up to the last test problem."""
    found: set[str] = set()
    for suite in PROGRAMS:
        kept = 0
        for draft in drafts(suite, "test", SEED):
            if draft.program in seen:
                found.add(fingerprint(draft.program)[:DIGITS])
            else:
                kept += 1
            if kept == COUNT:
                break
    return found


if __name__ == "__main__":
    print("\n".join(sorted(withheld(trained_on()))))
