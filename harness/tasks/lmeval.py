"""lm-eval's own task objects, built from its YAML over data that is already here."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UserError
from harness.tasks.base import Doc

DIRECTORY = Path(__file__).parent / "definitions" / "tasks"
FEWSHOT_SEED = 1234  # lm-eval's default for drawing the examples of a prompt
NOT_CONFIG = ("tag", "group", "task_list", "include", "bench", "dataset_path", "dataset_name")


@dataclass(frozen=True)
class Definition:
    """A task definition: lm-eval's configuration and what this benchmark adds under `bench`.

    `grader` is filters, math or code; `fields` are those every row must have; `local` names the file of each
    split under `--data`, `task_ids` the first and last task_id of a split that is a part of its file. `marks`
    are the signs behind which a field's gold answer stands, `boxed` the field that holds a \\boxed one,
    `assertions` how many a prompt shows.
    """

    name: str
    config: dict[str, Any]
    about: str
    grader: str
    headline: str
    fields: tuple[str, ...]
    hub: tuple[str, str | None]
    hub_configs: tuple[str, ...]
    local: dict[str, str]
    task_ids: dict[str, tuple[int, int]]
    boxed: str | None
    marks: dict[str, str]
    assertions: int
    demo: bool


@functools.cache
def load_definition(name: str) -> Definition:
    """The definition in definitions/tasks, over lm-eval's YAML that it includes. Raises UserError."""
    path = DIRECTORY / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in DIRECTORY.glob("*.yaml")))
        raise UserError(f"unknown task definition {name!r}; there are {known}")
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    bench = own["bench"]
    config = {**_lm_eval_yaml(own["include"]), **own}
    return Definition(
        name=name,
        config={key: value for key, value in config.items() if key not in NOT_CONFIG},
        about=bench["about"],
        grader=bench["grader"],
        headline=bench["headline"],
        fields=tuple(bench["fields"]),
        hub=(config["dataset_path"], config.get("dataset_name")),
        hub_configs=tuple(bench.get("hub_configs", ())),
        local=bench.get("local", {}),
        task_ids={split: (low, high) for split, (low, high) in bench.get("task_ids", {}).items()},
        boxed=bench.get("boxed"),
        marks=bench.get("marks", {}),
        assertions=bench.get("assertions", 1),
        demo=bench.get("demo", False),
    )


def _lm_eval_yaml(relative: str) -> dict[str, Any]:
    """A YAML of the installed lm-eval with its includes merged and its `!function` names resolved."""
    import lm_eval.tasks

    from harness.tasks.code_eval import local_code_eval

    path = Path(lm_eval.tasks.__file__).parent / relative
    package = ".".join(["lm_eval", "tasks", *Path(relative).parent.parts])

    class Loader(yaml.SafeLoader):
        """A loader that knows which package `!function` names are relative to."""

    def function(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
        module, _, name = str(loader.construct_scalar(node)).rpartition(".")  # type: ignore[arg-type]
        return getattr(importlib.import_module(f"{package}.{module}"), name)

    Loader.add_constructor("!function", function)
    # lm-eval's code tasks fetch their executor from the hub when imported.
    with local_code_eval():
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    if "include" in config:
        config = {**_lm_eval_yaml(str(Path(relative).parent / config["include"])), **config}
    return config


class Engine:
    """lm-eval's task over given rows: it builds the prompts, extracts the answers and computes the metrics.

    `rows` maps a split's name to its rows; only "test" is needed where `shots` is 0.
    """

    def __init__(self, config: dict[str, Any], rows: dict[str, list[Doc]], shots: int) -> None:
        self.shots = shots
        self.task = self._build(config, rows, shots)
        self.docs: list[Doc] = [dict(doc) for doc in self.task.task_docs]

    @staticmethod
    def _build(config: dict[str, Any], rows: dict[str, list[Doc]], shots: int) -> Any:
        import datasets
        from lm_eval.api.task import ConfigurableTask

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        datasets.disable_progress_bars()
        sets = datasets.DatasetDict({split: datasets.Dataset.from_list(docs) for split, docs in rows.items()})
        config = {**config, "num_fewshot": shots, "custom_dataset": lambda **_: sets}
        if "train" not in rows:
            config.update(training_split=None, fewshot_split=None)
        return ConfigurableTask(config=config)

    def prompts(self, limit: int | None = None, docs: list[Doc] | None = None) -> list[str]:
        """The prompts of the first `limit` rows: their examples are drawn row after row from one seed."""
        self.task.set_fewshot_seed(FEWSHOT_SEED)
        docs = self.docs if docs is None else docs
        return [self.task.fewshot_context(doc, self.shots) for doc in docs[:limit]]

    def prepared(self, rows: list[Doc]) -> list[Doc]:
        """Rows of another split, with the fields that the task adds to its own."""
        import datasets

        process = self.task.config.process_docs
        made = datasets.Dataset.from_list(rows)
        return [dict(doc) for doc in (process(made) if process is not None else made)]

    def prefix(self, doc: Doc) -> str:
        """The opening of the answer that the task gives away; empty for most."""
        return self.task.doc_to_prefix(doc) or ""

    def target(self, doc: Doc) -> str:
        """What the response is held against: the reference answer, or the tests of a code task."""
        return str(self.task.doc_to_target(doc))

    def until(self) -> tuple[str, ...]:
        """The stop strings of the task."""
        stops = (self.task.config.generation_kwargs or {}).get("until") or ()
        return (stops,) if isinstance(stops, str) else tuple(stops)

    def extract(self, doc: Doc, response: str) -> dict[str, Any]:
        """What each of the task's filters makes of a response, by the filter's name."""
        from lm_eval.api.instance import Instance

        instance = Instance("generate_until", doc, ("", {}), 0, resps=[response])
        for ensemble in self.task._filters:
            ensemble.apply([instance])
        return instance.filtered_resps

    def metrics(self, doc: Doc, extracted: dict[str, Any]) -> dict[str, float]:
        """lm-eval's metrics of each extraction, as `metric,filter`."""
        process: Callable[..., dict[str, Any]] = self.task.process_results
        return {
            f"{metric},{name}": float(value)
            for name, result in extracted.items()
            for metric, value in process(doc, [result]).items()
        }
