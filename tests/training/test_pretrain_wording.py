"""Reworded answers: the same results in the same order, and programs that compute the same."""

from __future__ import annotations

import random
import re

import pytest

from harness.tasks.demo import SUITES, generate, gold_response
from training.pretrain_wording import reword


class Drawn(random.Random):
    """A generator whose draws are all the same."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def random(self) -> float:
        return self.value


@pytest.mark.parametrize(
    ("answer", "other"),
    [
        ("7 pens. wins 5: 7+5=12.\n#### 12", "7 pens. Then wins 5, so 7+5=12.\n#### 12"),
        ("Then wins 5, so 7+5=12. Now there are 12 pens.\n#### 12", "wins 5: 7+5=12.\n#### 12"),
        ("Start: 5. Mia: 5*2=10.\n#### 10", "Start: 5. Then Mia, so 5*2=10.\n#### 10"),
        ("7+5=12, 12-1=11. \\boxed{11}", "7+5=12, so 12-1=11. \\boxed{11}"),
        ("    x = x - 3\n    y = x + 1\n    return x", "    x -= 3\n    y = x + 1\n    return x"),
    ],
)
def test_the_draw_decides_each_wording(answer, other):
    assert reword(answer, Drawn(0.99)) == answer
    assert reword(answer, Drawn(0.0)) == other


def test_numbers_keep_their_order_and_every_suite_has_several_wordings():
    for suite in SUITES[:2]:
        rng, changed = random.Random(0), 0
        for doc in generate(suite, "train", 200, seed=3):
            gold = gold_response(doc)
            other = reword(gold, rng)
            changed += other != gold
            told = re.sub(r" Now there are [^.]*\.", "", gold), re.sub(r" Now there are [^.]*\.", "", other)
            assert re.findall(r"\d+", told[0]) == re.findall(r"\d+", told[1])
            assert other.splitlines()[-1].split()[-1] == gold.splitlines()[-1].split()[-1]
        assert 100 < changed < 200


def test_reworded_programs_pass_their_tests():
    rng, changed = random.Random(0), 0
    for doc in generate("demo-mbpp", "train", 100, seed=3):
        other = reword(gold_response(doc), rng)
        changed += other != gold_response(doc)
        scope: dict[str, object] = {}
        exec("\n".join([other, *doc["test_list"]]), scope)
    assert changed > 50
