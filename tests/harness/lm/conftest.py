"""A tiny checkpoint and lm-eval tasks over local rows; lm-eval's own task index is left out."""

import functools
import json

import lm_eval.evaluator
import lm_eval.tasks
import pytest
from lm_eval.tasks import TaskManager

from tests.checkpoints import write_checkpoint

QUESTIONS = ["the answer", "is it", "the question is not known and the answer is 42", "def add", "a b c"]
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}, train: {data}}}}}
test_split: test
training_split: train
output_type: {kind}
doc_to_text: "{{{{question}}}}?"
doc_to_target: "{{{{answer}}}}"
num_fewshot: {shots}
generation_kwargs: {{until: [" the", "\\n"], max_gen_toks: {length}, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(directory, shards=2)
    return directory


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A directory with the generation tasks `toy` and `toy-shots` and the task of choices `toy-choice`."""
    directory = tmp_path_factory.mktemp("tasks")
    rows = [{"question": question, "answer": str(at)} for at, question in enumerate(QUESTIONS)]
    data = directory / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, shots, length in (("toy", 0, 12), ("toy-shots", 2, 8)):
        text = TASK.format(name=name, data=data, kind="generate_until", shots=shots, length=length)
        (directory / f"{name}.yaml").write_text(text)
    choice = TASK.format(name="toy-choice", data=data, kind="multiple_choice", shots=0, length=1)
    choice = choice.replace("exact_match", "acc").replace('"{{answer}}"', "0")
    (directory / "toy-choice.yaml").write_text(choice + 'doc_to_choice: ["a", "b"]\n')
    return directory


@pytest.fixture(autouse=True)
def lean(monkeypatch):
    """Leave out what takes lm-eval seconds and matters to no test: task index, survey of the machine."""
    init = functools.partialmethod(TaskManager.__init__, include_defaults=False)
    monkeypatch.setattr(lm_eval.tasks.TaskManager, "__init__", init)
    monkeypatch.setattr(lm_eval.evaluator, "add_env_info", lambda storage: None)
