"""lm-eval's own task objects over local rows, built by lm-eval's own loader, for comparison."""

from pathlib import Path

import datasets
import lm_eval.tasks
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from harness.tasks.code_eval import local_code_eval

SEED = 1234


def build(relative, rows, shots):
    """lm-eval's task of one of its YAML files over `rows` (split -> rows)."""
    sets = datasets.DatasetDict({split: datasets.Dataset.from_list(docs) for split, docs in rows.items()})
    with local_code_eval():
        config = load_yaml(Path(lm_eval.tasks.__file__).parent / relative)
    for key in ("tag", "dataset_path", "dataset_name"):
        config.pop(key, None)
    return ConfigurableTask(config={**config, "custom_dataset": lambda **_: sets, "num_fewshot": shots})


def prompts(task, limit):
    """The requests lm-eval would send, through its own building of them."""
    task.set_fewshot_seed(SEED)
    task.build_all_requests(limit=limit, rank=0, world_size=1)
    return [instance.args[0] for instance in task.instances]


def judge(task, doc_id, response):
    """lm-eval's metrics of one response, cut at the task's stop strings as its models cut it."""
    for stop in task.config.generation_kwargs["until"]:
        response = response.split(stop)[0]
    doc = task.task_docs[doc_id]
    instance = task.construct_requests(doc=doc, ctx="", metadata=(task.config.task, doc_id, 1))
    instance.resps = [response]
    for ensemble in task._filters:
        ensemble.apply([instance])
    return {
        f"{metric},{name}": float(value)
        for name, result in instance.filtered_resps.items()
        for metric, value in task.process_results(doc, [result]).items()
    }
