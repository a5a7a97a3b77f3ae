"""Other wordings of a demo answer: the same steps, said another way, as in text that many people wrote."""

from __future__ import annotations

import random
import re

OTHER = 0.4  # chance that a step is not worded as the suite's own answers word it
STEP = re.compile(r"(?:Then )?([a-zA-Z][^.:\n=]*?)(?:: |, so )(\S+=\d+)\.")
REMARK = re.compile(r" Now there are [^.]*\.")
SUM_END = re.compile(r"(=\d+), ")
UPDATE = re.compile(r"\b(\w+) = \1 ([-+*%]) ")


def reword(answer: str, rng: random.Random) -> str:
    """The answer with about OTHER of its steps in another wording; results and their order stay.

    What a model should say next is then a choice among right continuations of unequal length, and what stands
    further on depends on it: decoding many positions at once must not mix them (the multi-modality problem
    of non-autoregressive decoding). Programs keep what they compute.
    """

    def step(found: re.Match[str]) -> str:
        what, worked = found[1], found[2]
        told = found[0].startswith("Then ")
        if told == (rng.random() < OTHER):
            return f"{what}: {worked}."
        return f"Then {what}, so {worked}."

    answer = STEP.sub(step, answer)
    answer = REMARK.sub(lambda found: "" if rng.random() < OTHER else found[0], answer)
    answer = SUM_END.sub(lambda found: f"{found[1]}{', so ' if rng.random() < OTHER else ', '}", answer)
    return UPDATE.sub(lambda found: f"{found[1]} {found[2]}= " if rng.random() < OTHER else found[0], answer)
