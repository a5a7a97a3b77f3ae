"""Prompts and grades are exactly lm-eval's: every task is held against lm-eval's own objects."""

import random
import re

import pytest

from harness.tasks import load_task
from tests.harness.tasks import lm_eval_itself
from tests.harness.tasks.conftest import GSM8K, HUMANEVAL, MATH, MBPP

SMALL = {
    "gsm8k": ("gsm8k/gsm8k.yaml", {"test": GSM8K[:4], "train": GSM8K[4:]}, 5),
    "math": ("minerva_math/minerva_math_algebra.yaml", {"test": MATH, "train": MATH}, 4),
    "math500": ("minerva_math/minerva_math500.yaml", {"test": MATH}, 4),
    "humaneval": ("humaneval/humaneval.yaml", {"test": HUMANEVAL}, 0),
    "mbpp": ("mbpp/mbpp.yaml", {"test": MBPP[1:4]}, 3),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_prompts_of_the_lm_eval_protocol_are_lm_evals(small_data, name):
    relative, rows, shots = SMALL[name]
    theirs = lm_eval_itself.prompts(lm_eval_itself.build(relative, rows, shots), limit=3)
    task = load_task(name, protocol="lm-eval", data_dir=small_data)
    assert [p.prompt for p in task.problems(limit=3)] == theirs[: len(task)]
    assert [p.prompt for p in task.problems(limit=2)] == theirs[:2]


@pytest.mark.parametrize("name", ["humaneval_instruct", "mbpp_instruct"])
def test_the_instruct_forms_open_the_answer_as_lm_eval_does(small_data, name):
    folder, rows = ("humaneval", HUMANEVAL) if name.startswith("h") else ("mbpp", MBPP[1:4])
    shots = 3 if folder == "mbpp" else 0
    theirs = lm_eval_itself.prompts(
        lm_eval_itself.build(f"{folder}/{name}.yaml", {"test": rows}, shots), limit=2
    )
    ours = load_task(name, protocol="lm-eval", data_dir=small_data).problems(limit=2)
    assert [p.prompt for p in ours] == theirs
    chat = load_task(name, protocol="dparallel", data_dir=small_data).problems(limit=2)
    assert [p.prompt + p.prefix for p in chat] == theirs


def test_gsm8k_five_shot_prompts_of_the_real_data(datasets_dir, real_rows):
    rows = {"test": real_rows("gsm8k_test"), "train": real_rows("gsm8k_train")}
    theirs = lm_eval_itself.prompts(lm_eval_itself.build("gsm8k/gsm8k.yaml", rows, 5), limit=5)
    ours = load_task("gsm8k", protocol="fast-dllm", data_dir=datasets_dir).problems(limit=5)
    assert [p.prompt for p in ours] == theirs


def damaged_numbers(answer, rng):
    """Variants of a GSM8K answer, each with the name of its damage."""
    number = answer.rsplit("#### ", 1)[1]
    place = rng.randrange(len(answer))
    digits = [m.start() for m in re.finditer(r"\d", number)]
    at = rng.choice(digits)
    changed = number[:at] + str((int(number[at]) + 1) % 10) + number[at + 1 :]
    stem = answer.rsplit("#### ", 1)[0]
    words = answer.split(" ")
    del words[rng.randrange(len(words))]
    return {
        "gold": answer,
        "digit changed": f"{stem}#### {changed}",
        "token dropped": " ".join(words),
        "character dropped": answer[:place] + answer[place + 1 :],
        "prose after the number": f"{answer} eggs, which is what she needs.",
        "prose with a number after": f"{answer}. She started with 3 of them.",
        "no mark": f"{stem}The answer is {number}.",
        "money": f"{stem}#### ${number}.00",
        "boxed": f"{stem}So the answer is \\boxed{{{number}}}.",
        "unclosed box": f"{stem}So the answer is \\boxed{{{number}",
        "another question": f"{answer}\n\nQuestion: what is 7 + 8?\nAnswer: 15\n#### 15",
        "nothing": "",
        "spaces": f"{stem}####  {number} ",
        "twice": f"{answer}\n#### 12345",
    }


@pytest.mark.parametrize("protocol", ["dparallel", "fast-dllm", "lm-eval"])
def test_gsm8k_grades_are_lm_evals(datasets_dir, real_rows, protocol):
    rows, rng = real_rows("gsm8k_test"), random.Random(0)
    theirs = lm_eval_itself.build("gsm8k/gsm8k.yaml", {"test": rows[:1], "train": rows[:1]}, 0)
    ours = load_task("gsm8k", protocol=protocol, data_dir=datasets_dir)
    theirs.task_docs = rows
    for doc_id in rng.sample(range(len(rows)), 20):
        for damage, response in damaged_numbers(rows[doc_id]["answer"], rng).items():
            expected = lm_eval_itself.judge(theirs, doc_id, response)
            score = ours.score(doc_id, response)
            assert {k: score.metrics[k] for k in expected} == expected, (doc_id, damage)
            assert score.correct == expected["exact_match,flexible-extract"], (doc_id, damage)
            assert score.correct or damage != "gold"


def damaged_math(solution, rng):
    """Variants of a MATH solution, each with the name of its damage."""
    from lm_eval.tasks.minerva_math import utils

    box = utils.last_boxed_only_string(solution)
    answer = utils.remove_boxed(box)
    digits = [m.start() for m in re.finditer(r"\d", answer)]
    changed = answer + "1"
    if digits:
        at = rng.choice(digits)
        changed = answer[:at] + str((int(answer[at]) + 1) % 10) + answer[at + 1 :]
    words = solution.split(" ")
    del words[rng.randrange(len(words))]
    return {
        "gold": solution,
        "digit changed": solution.replace(box, f"\\boxed{{{changed}}}"),
        "token dropped": " ".join(words),
        "unclosed box": solution[: solution.rindex(box) + len(box) - 1],
        "no box": solution.replace(box, answer),
        "prose after the answer": f"{solution} There are 3 other ways to see this.",
        "the examples' sentence": f"Final Answer: The final answer is ${answer}$. I hope it is correct.",
        "its digit changed": f"Final Answer: The final answer is ${changed}$. I hope it is correct.",
        "another problem": f"{solution}\n\nProblem:\nWhat is 1+1?\n\nSolution: $\\boxed{{2}}$",
        "nothing": "",
    }


def test_math_grades_are_lm_evals(datasets_dir, real_rows):
    rows, rng = real_rows("math_test"), random.Random(1)
    theirs = lm_eval_itself.build(SMALL["math"][0], {"test": rows[:1], "train": rows[:1]}, 0)
    theirs.task_docs = theirs.config.process_docs(lm_eval_itself.datasets.Dataset.from_list(rows))
    items, expected, named = [], [], []
    for doc_id in rng.sample(range(len(rows)), 4):
        for damage, response in damaged_math(rows[doc_id]["solution"], rng).items():
            items.append((doc_id, response))
            expected.append(lm_eval_itself.judge(theirs, doc_id, response))
            named.append((doc_id, damage))
    scores = list(load_task("math", data_dir=datasets_dir).score_many(items))
    for score, wanted, name in zip(scores, expected, named, strict=True):
        assert score.error is None, name
        assert {f"{k},none": v for k, v in score.metrics.items()} == wanted, name
        assert score.correct == bool(wanted["math_verify,none"]), name
        assert score.correct or name[1] != "gold", name


def pass_at_1(program):
    """What lm-eval's executor finds: the program run as one text in one namespace, without any protection."""
    try:
        exec(program, {})
    except BaseException:
        return False
    return True


def damaged_code(code, rng):
    """Variants of a reference solution, each with the name of its damage."""
    tokens = [m.span() for m in re.finditer(r"\w+|[^\w\s]", code)]
    start, end = rng.choice(tokens)
    lines = code.rstrip("\n").split("\n")
    flipped = re.sub(r"==|<=|>=|<|>|\+|\band\b|\bTrue\b", lambda m: FLIPS[m[0]], code, count=1)
    return {
        "gold": code,
        "token dropped": code[:start] + code[end:],
        "last line dropped": "\n".join(lines[:-1]),
        "last character dropped": code.rstrip()[:-1],
        "operator flipped": flipped,
        "prose after it": f"{code}\nThis solves it.",
        "nothing": "",
    }


FLIPS = {"==": "!=", "<=": ">", ">=": "<", "<": ">=", ">": "<=", "+": "-", "and": "or", "True": "False"}


@pytest.mark.parametrize(("protocol", "seed"), [("dparallel", 2), ("lm-eval", 3)])
def test_humaneval_grades_are_lm_evals(datasets_dir, real_rows, protocol, seed):
    rows, rng = real_rows("humaneval"), random.Random(seed)
    theirs = lm_eval_itself.build("humaneval/humaneval.yaml", {"test": rows}, 0)
    ours = load_task("humaneval", protocol=protocol, data_dir=datasets_dir)
    items, expected = [], []
    for doc_id in rng.sample(range(40), 4):
        row = rows[doc_id]
        for response in damaged_code(row["canonical_solution"], rng).values():
            shown = response
            for stop in theirs.config.generation_kwargs["until"]:
                shown = shown.split(stop)[0]
            items.append((doc_id, response))
            expected.append(pass_at_1(f"{row['prompt']}{shown}\n{row['test']}\ncheck({row['entry_point']})"))
    assert [score.correct for score in ours.score_many(items)] == expected


@pytest.mark.parametrize(("protocol", "seed"), [("dparallel", 4), ("lm-eval", 5)])
def test_mbpp_grades_are_lm_evals(datasets_dir, real_rows, protocol, seed):
    rows = [row for row in real_rows("mbpp") if 11 <= row["task_id"] <= 510]
    rng = random.Random(seed)
    ours = load_task("mbpp", protocol=protocol, data_dir=datasets_dir)
    items, expected = [], []
    for doc_id in rng.sample(range(40), 4):
        row = rows[doc_id]
        for response in damaged_code(row["code"], rng).values():
            items.append((doc_id, response))
            expected.append(pass_at_1("\n".join([response, *row["test_list"]])))
    assert [score.correct for score in ours.score_many(items)] == expected
