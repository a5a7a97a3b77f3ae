"""The demo generators: same seed, same problems; disjoint splits; golds that pass."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from harness.errors import UserError
from harness.tasks.demo import COUNT, MAKERS, SUITES, generate, gold_response, prompt_text
from harness.tasks.demo.common import TOP, chain, split_of


@pytest.mark.parametrize("suite", SUITES)
def test_the_same_seed_gives_the_same_problems_and_another_seed_others(suite):
    assert generate(suite, "test", 50, seed=3) == generate(suite, "test", 50, seed=3)
    assert generate(suite, "test", 50, seed=3) != generate(suite, "test", 50, seed=4)


@pytest.mark.parametrize("suite", SUITES)
def test_a_longer_draw_begins_with_the_shorter_one(suite):
    assert generate(suite, "test", 60)[:20] == generate(suite, "test", 20)


@pytest.mark.parametrize("suite", SUITES)
def test_no_test_prompt_occurs_in_train_whatever_the_seed(suite):
    test = {prompt_text(doc) for doc in generate(suite, "test")}
    assert len(test) == COUNT >= 200
    for seed in (0, 1):
        assert test.isdisjoint(prompt_text(doc) for doc in generate(suite, "train", 2000, seed=seed))


@pytest.mark.parametrize("suite", SUITES)
def test_a_skeleton_has_one_split_and_about_a_tenth_are_test(suite):
    rng = random.Random(0)
    keys = {MAKERS[suite](rng).key for _ in range(3000)}
    share = sum(split_of(key) == "test" for key in keys) / len(keys)
    assert 0.06 < share < 0.14


def test_names_and_items_do_not_move_a_problem_to_another_split():
    """Two problems with the same sums under other names have one skeleton, so one split."""
    by_key: dict[str, set[str]] = {}
    rng = random.Random(1)
    for _ in range(4000):
        draft = MAKERS["demo-gsm8k"](rng)
        by_key.setdefault(draft.key, set()).add(draft.doc["question"])
    assert any(len(questions) > 1 for questions in by_key.values())


@pytest.mark.parametrize("suite", ["demo-gsm8k", "demo-math"])
def test_every_sum_of_a_worked_answer_is_right_and_the_last_is_the_answer(suite):
    for doc in generate(suite, "test"):
        gold = gold_response(doc)
        final = re.search(r"(?:#### |\\boxed\{)(\d+)", gold)
        assert final is not None
        sums = re.findall(r"(\d+)([-+*/])(\d+)=(\d+)", gold)
        assert sums, gold
        for left, op, right, result in sums:
            value = {
                "+": int(left) + int(right),
                "-": int(left) - int(right),
                "*": int(left) * int(right),
                "/": int(left) / int(right),
            }[op]
            assert value == int(result) <= 2 * TOP
        assert sums[-1][3] == final[1]


@pytest.mark.parametrize("suite", ["demo-gsm8k", "demo-math"])
def test_problems_take_two_to_six_dependent_steps(suite):
    counts = {len(re.findall("=", re.sub(r"^[a-z]=\d+,", "", gold_response(d)))) for d in generate(suite)}
    assert min(counts) >= 1
    assert max(counts) >= 5


def test_a_nested_expression_evaluates_to_its_boxed_number():
    for doc in generate("demo-math", "test"):
        match = re.fullmatch(r"Compute (.*)\.", doc["problem"])
        if match:
            assert f"\\boxed{{{eval(match[1])}}}" in doc["solution"]


def test_gold_bodies_pass_their_hidden_assertions():
    for doc in generate("demo-humaneval", "test"):
        scope: dict = {}
        exec(doc["prompt"] + gold_response(doc) + "\n" + doc["test"], scope)
        scope["check"](scope[doc["entry_point"]])


def test_gold_functions_pass_the_visible_and_the_hidden_assertions():
    for doc in generate("demo-mbpp", "test"):
        scope: dict = {}
        exec(gold_response(doc) + "\n" + "\n".join(doc["test_list"]), scope)
        assert doc["test_list"][0] in prompt_text(doc)
        assert doc["test_list"][1] not in prompt_text(doc)


def test_hidden_assertions_tell_a_wrong_program_from_the_right_one():
    """Doing nothing passes few programs' assertions (those whose steps cancel out)."""
    passed = 0
    docs = generate("demo-humaneval", "test")
    for doc in docs:
        scope: dict = {}
        argument = re.search(r"\((\w+)\)", doc["prompt"])[1]
        exec(doc["prompt"] + f"    return {argument}\n" + doc["test"], scope)
        try:
            scope["check"](scope[doc["entry_point"]])
            passed += 1
        except AssertionError:
            pass
    assert passed / len(docs) < 0.03


def test_chains_stay_within_their_range():
    rng = random.Random(0)
    for _ in range(500):
        steps = chain(rng, 6)
        assert all(1 <= s.result <= TOP for s in steps)
        assert all(a.result == b.left for a, b in itertools.pairwise(steps))


def test_an_unknown_suite_or_split_is_the_users_mistake():
    with pytest.raises(UserError, match="demo-gsm8k"):
        generate("demo-gsm9k")
    with pytest.raises(UserError, match="train"):
        generate("demo-gsm8k", "validation")
