"""Tasks: problems, the demo suites, options and the gold answers of the real sets."""

import re
import subprocess
import sys

import pytest

from harness.errors import UserError
from harness.tasks import list_tasks, load_task
from harness.tasks.code_eval import local_code_eval
from harness.tasks.demo import SUITES, generate, gold_response
from harness.tasks.grade_math import ROOT, MathGrader, Worker
from tests.harness.tasks.conftest import MATH

GOLD = {"gsm8k": "answer", "humaneval": "canonical_solution", "mbpp": "code", "math": "solution"}


def test_every_task_has_a_line_and_loads():
    names = [info.name for info in list_tasks()]
    assert names[:4] == sorted(SUITES)
    assert {"gsm8k", "math", "math500", "humaneval", "humaneval_instruct", "mbpp", "mbpp_instruct"} < set(
        names
    )
    for info in list_tasks():
        task = load_task(info.name)
        assert task.headline == info.headline
        assert task.runs_code == info.runs_code
        assert task.gen_length % task.block_length == 0


def test_unknown_names_list_the_known():
    with pytest.raises(UserError, match=r"unknown task 'gsm9k'; did you mean .* \(there are demo-gsm8k,"):
        load_task("gsm9k")
    with pytest.raises(UserError, match="protocol 'fast-dllm' has no task 'gsm8k_long'; it has gsm8k,"):
        load_task("gsm8k_long", protocol="fast-dllm")
    with pytest.raises(UserError, match="unknown task option 'setup'; there are setup-code"):
        load_task("mbpp", options=["setup"])


def test_lm_evals_names_are_understood():
    assert load_task("minerva_math").name == "math"


def test_a_demo_suite_keeps_its_protocol_beside_a_papers():
    task = load_task("demo-gsm8k", protocol="d3llm")
    assert (task.protocol.name, task.gen_length, task.block_length) == ("demo", 128, 32)


def test_demo_mbpp_begins_the_function_and_takes_the_rest_or_all_of_it():
    task = load_task("demo-mbpp")
    (problem,) = task.problems(1)
    code = problem.doc["code"]
    rest = code.removeprefix(problem.prefix)
    assert re.fullmatch(r"def \w+\(\w+\):", problem.prefix)
    assert rest.startswith("\n    ")
    answers = [code, rest, "\n    return None\n", code.replace("return", "yield")]
    assert [score.correct for score in task.score_many([(0, answer) for answer in answers])] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("suite", SUITES)
def test_a_demo_suite_gives_problems_and_judges_its_gold_answers(suite):
    task = load_task(suite)
    problems = task.problems(limit=4)
    docs = generate(suite, "test", 4)
    assert [p.doc_id for p in problems] == [0, 1, 2, 3]
    assert all(p.chat and p.prompt and not p.until and p.gold for p in problems)
    right = [(i, gold_response(doc)) for i, doc in enumerate(docs)]
    wrong = [(i, "1 / 0 #### 999999999 \\boxed{999999999}") for i in range(2)]
    assert [s.correct for s in task.score_many(right + wrong)] == [True] * 4 + [False] * 2
    assert len(task.problems(limit=2, split="train")) == 2


def test_problems_of_the_training_split(small_data):
    problems = load_task("gsm8k", data_dir=small_data).problems(limit=2, split="train")
    assert [p.gold for p in problems] == ["2008", "2010"]
    with pytest.raises(UserError, match="no local form of its train split"):
        load_task("humaneval", data_dir=small_data).problems(split="train")


def test_dparallel_asks_gsm8k_for_a_box_and_reads_it(small_data):
    task = load_task("gsm8k", data_dir=small_data)
    problem = task.problems(limit=1)[0]
    assert problem.prompt.endswith(r"put your final answer within \boxed{}.")
    assert problem.chat
    score = task.score(0, r"1000 + 1000 makes \boxed{2000} pens, 1000 of them new.")
    assert score.metrics == {
        "exact_match,strict-match": 0,
        "exact_match,flexible-extract": 0,
        "exact_match,boxed": 1,
    }
    assert (score.extracted, score.correct) == ("1000", False)


def test_stop_strings_cut_a_response_before_it_is_judged(small_data):
    task = load_task("gsm8k", data_dir=small_data)
    assert task.score(0, "#### 2000\nQuestion: and 1 + 1?\n#### 2").correct


def test_an_unknown_doc_id_names_the_range(small_data):
    task = load_task("gsm8k", data_dir=small_data)
    for doc_id in (4, -1, "0", True, None):
        with pytest.raises(UserError, match=r"unknown doc_id .*: gsm8k has rows 0 to 3"):
            task.score(doc_id, "")


def test_setup_code_runs_after_the_candidate_only_when_asked_for(small_data):
    gold = "def least(a, b):\n    return min(a, b)"
    plain = load_task("mbpp", data_dir=small_data).score(2, gold)
    assert (plain.correct, plain.error) == (False, "NameError: name 'root' is not defined")
    assert load_task("mbpp", data_dir=small_data, options=["setup-code"]).score(2, gold).correct


def test_a_function_may_bear_a_builtins_name_where_the_reference_does(small_data):
    task = load_task("mbpp", data_dir=small_data)
    assert task.score(1, "def sum(a, b):\n    return a * b").correct
    shadow = "def abs(x):\n    return 0\ndef area(r):\n    return r and 5"
    assert not load_task("humaneval", data_dir=small_data).score(0, f"```python\n{shadow}\n```").correct


def test_the_instruct_form_goes_on_where_the_prompt_stops(small_data):
    task = load_task("humaneval_instruct", data_dir=small_data)
    assert task.problems(limit=1)[0].prefix.startswith(
        "Here is the completed function:\n```python\nimport math"
    )
    body = "    return math.pi * r * r\n"
    responses = [(0, body), (0, f"{body}```\nDone."), (0, "    return r")]
    assert [s.correct for s in task.score_many(responses)] == [True, True, False]


def test_math_grades_the_last_box_and_names_it(small_data):
    task = load_task("math", data_dir=small_data)
    scores = list(
        task.score_many([(0, r"So $\boxed{0.5}$."), (1, r"$\boxed{(0,3]}$"), (2, "no answer at all")])
    )
    assert [(s.extracted, s.correct) for s in scores] == [("0.5", True), ("(0,3]", False), (None, False)]
    assert set(scores[0].metrics) == {"exact_match", "math_verify"}


def test_a_grader_that_hangs_or_dies_is_replaced():
    doc = {**MATH[2], "answer": "7"}
    worker = Worker()
    assert worker.grade(doc, r"$\boxed{7}$")["metrics"]["math_verify"] == 1
    worker.timeout_s = 0
    assert "no verdict within 0 s" in worker.grade(doc, r"$\boxed{7}$")["error"]
    worker.timeout_s = 60
    assert worker.grade(doc, r"$\boxed{8}$")["metrics"]["math_verify"] == 0
    worker.process.kill()
    worker.process.wait()
    assert worker.grade(doc, r"$\boxed{7}$")["metrics"]["math_verify"] == 1
    worker.close()


def test_a_grader_that_does_not_start_says_what_to_install(monkeypatch):
    monkeypatch.setattr("harness.tasks.grade_math.START_S", 0)
    with pytest.raises(UserError, match=r"pip install 'lm-eval\[math\]'"):
        Worker().grade({**MATH[2], "answer": "7"}, "7")


def test_the_graders_alarms_count_processor_time():
    script = """
import time
from harness.tasks.grade_math_worker import count_alarms_in_processor_time, lm_eval_utils
count_alarms_in_processor_time()
from math_verify.utils import timeout
timeout(1)(time.sleep)(1.5)
print('slept')
try:
    with lm_eval_utils().timeout(seconds=1):
        while True:
            pass
except TimeoutError:
    print('stopped', time.process_time() < 60)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.split() == ["slept", "stopped", "True"]


def test_one_grader_serves_a_handful_of_answers():
    grader = MathGrader(workers=2)
    doc = {**MATH[2], "answer": "7"}
    replies = list(grader.grade_many([(doc, rf"$\boxed{{{n}}}$") for n in (6, 7, 8)]))
    assert [reply["metrics"]["math_verify"] for reply in replies] == [0, 1, 0]
    assert len(grader.started) == 1
    grader.close()


def test_lm_evals_executor_is_the_sandbox():
    import evaluate

    with local_code_eval() as executor:
        executor.armed = True
        found = evaluate.load("code_eval")
        result, _ = found.compute(
            references=["assert f() == 1"] * 2, predictions=[["f = lambda: 1"], ["f = 1"]]
        )
        executor.armed = False
    assert result == {"pass@1": 0.5}
    assert found.compute(references=["1 / 0"], predictions=[["x"]])[0] == {"pass@1": 0.0}


@pytest.mark.parametrize(("name", "field"), GOLD.items())
def test_gold_answers_of_the_real_sets_score(datasets_dir, real_rows, name, field):
    """A sample; all of them were run by hand, see harness/tasks/README.md."""
    files = {"gsm8k": "gsm8k_test", "math": "math_test"}
    rows = [r for r in real_rows(files.get(name, name)) if name != "mbpp" or 11 <= r["task_id"] <= 510]
    picked = range(0, len(rows), max(1, len(rows) // 12))
    scores = load_task(name, data_dir=datasets_dir).score_many([(i, rows[i][field]) for i in picked])
    assert all(score.correct for score in scores)


def test_every_gold_answer_of_gsm8k_scores_in_both_extractions(datasets_dir, real_rows):
    rows = real_rows("gsm8k_test")
    scores = load_task("gsm8k", data_dir=datasets_dir).score_many(
        [(i, r["answer"]) for i, r in enumerate(rows)]
    )
    right = [s.correct and s.metrics["exact_match,strict-match"] == 1 for s in scores]
    assert len(right) == sum(right) == 1319


def test_the_one_mbpp_exception_needs_its_setup_code(datasets_dir, real_rows):
    rows = [r for r in real_rows("mbpp") if 11 <= r["task_id"] <= 510]
    (at,) = [i for i, row in enumerate(rows) if row["task_id"] == 367]
    assert not load_task("mbpp", data_dir=datasets_dir).score(at, rows[at]["code"]).correct
    assert (
        load_task("mbpp", data_dir=datasets_dir, options=["setup-code"]).score(at, rows[at]["code"]).correct
    )
