"""Benchmark files: bad directories, lines and rows are named."""

import json
from types import SimpleNamespace

import pytest

from harness.errors import UserError
from harness.tasks import load_task
from tests.harness.tasks.conftest import FILES


def folder_with(tmp_path, name, rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def complaint(task, folder):
    with pytest.raises(UserError) as error:
        load_task(task, data_dir=folder).problems()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_directory_and_a_missing_file_are_named(tmp_path):
    assert "no such directory" in complaint("gsm8k", tmp_path / "nowhere")
    assert "gsm8k needs gsm8k_test.jsonl there" in complaint("gsm8k", tmp_path)


def test_the_training_file_is_needed_for_examples_alone(tmp_path):
    folder = folder_with(tmp_path, "gsm8k_test", FILES["gsm8k_test"])
    assert len(load_task("gsm8k", data_dir=folder).problems()) == 4
    with pytest.raises(UserError, match=r"needs gsm8k_train\.jsonl there for its train split"):
        load_task("gsm8k", protocol="fast-dllm", data_dir=folder).problems()


@pytest.mark.parametrize(
    ("task", "name", "row", "said"),
    [
        ("gsm8k", "gsm8k_test", "{", "gsm8k_test.jsonl:2: not JSON"),
        ("gsm8k", "gsm8k_test", "[" * 10**5, "gsm8k_test.jsonl:2: nested too deeply"),
        ("gsm8k", "gsm8k_test", [1], "gsm8k_test.jsonl:2: not a JSON object"),
        ("gsm8k", "gsm8k_test", {"question": "\ud800", "answer": "#### 1"}, "half of a surrogate pair"),
        ("gsm8k", "gsm8k_test", {"question": "?"}, "gsm8k_test.jsonl:2: no field 'answer'"),
        ("gsm8k", "gsm8k_test", {"question": 1, "answer": "1"}, "field 'question' is not text"),
        ("math", "math_test", {"problem": "?", "solution": "7"}, "field 'solution' holds no \\boxed answer"),
        (
            "math",
            "math_test",
            {"problem": "?", "solution": "\\boxed{1} or \\boxed{\\frac{7}{2"},
            "holds no \\boxed answer that ends",
        ),
        (
            "gsm8k",
            "gsm8k_test",
            {"question": "?", "answer": "It is 7."},
            "field 'answer' holds no answer behind ####",
        ),
        (
            "mbpp",
            "mbpp",
            {**FILES["mbpp"][1], "test_list": ["assert True"] * 2},
            "2 assertions in field 'test_list'; the prompt shows 3",
        ),
        ("mbpp", "mbpp", {"text": "?"}, "mbpp.jsonl:2: no number in field 'task_id'"),
        (
            "mbpp",
            "mbpp",
            {**FILES["mbpp"][1], "test_list": "x"},
            "field 'test_list' is not a list of assertions",
        ),
        ("humaneval", "humaneval", {"task_id": "T/1"}, "humaneval.jsonl:2: no field 'prompt'"),
    ],
)
def test_a_bad_row_is_named(tmp_path, task, name, row, said):
    first = FILES[name][1]
    assert said in complaint(task, folder_with(tmp_path, name, [first, row]))


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    folder = folder_with(tmp_path, "gsm8k_test", FILES["gsm8k_test"])
    file = folder / "gsm8k_test.jsonl"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert len(load_task("gsm8k", data_dir=folder)) == len(FILES["gsm8k_test"])


def test_an_empty_file_is_named(tmp_path):
    assert "the test split is empty" in complaint("humaneval", folder_with(tmp_path, "humaneval", []))


def test_an_unreachable_hub_names_the_set_and_the_way_out(monkeypatch, tmp_path):
    import datasets
    import huggingface_hub

    def refuse(*args, **kwargs):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(huggingface_hub, "get_session", refuse)
    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(UserError) as error:
        load_task("gsm8k").problems()
    said = str(error.value)
    assert "openai/gsm8k" in said
    assert "give --data DIR, a directory with gsm8k_test.jsonl" in said
    assert not datasets.config.HF_HUB_OFFLINE


def test_the_subjects_of_math_come_from_the_hub_one_after_the_other(monkeypatch):
    import datasets
    import huggingface_hub

    asked = []

    def load(path, name, split):
        asked.append((path, name, split))
        return [{"problem": name, "solution": r"\boxed{1}", "level": "1", "type": "x"}] * 2

    monkeypatch.setattr(huggingface_hub, "get_session", lambda: SimpleNamespace(head=lambda *a, **k: None))
    monkeypatch.setattr(datasets, "load_dataset", load)
    problems = load_task("math").problems()
    subjects = [name for _, name, _ in asked]
    assert asked[0] == ("EleutherAI/hendrycks_math", "algebra", "test")
    assert len(subjects) == 7
    assert [p.question for p in problems] == [name for name in subjects for _ in range(2)]


def test_mbpp_rows_are_the_test_split_of_the_file(small_data):
    problems = load_task("mbpp", data_dir=small_data).problems()
    assert [p.doc["task_id"] for p in problems] == [11, 12, 367]
    assert [p.doc_id for p in problems] == [0, 1, 2]
