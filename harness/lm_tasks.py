"""This benchmark's tasks as lm-eval tasks: the prompts, the answers and the judgement are those of `run`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.task import ConfigurableTask

from harness.errors import UserError
from harness.sandbox import choose_backend
from harness.tasks.registry import load_task, task_names

PREFIX = "bench-"  # tells this benchmark's form of a task from lm-eval's own of the same name
HEADLINE = "correct"


def known_tasks() -> dict[str, str]:
    """Name on lm-eval's command line -> task; the demo suites, which lm-eval has not, need no prefix."""
    names = task_names()
    return {PREFIX + name: name for name in names} | {n: n for n in names if n.startswith("demo-")}


def write_definition(
    folder: Path, shown: str, *, protocol: str | None, data_dir: Path | None, allow_unsandboxed: bool
) -> Path:
    """A YAML file in `folder` that makes lm-eval load the task under the name `shown`."""
    options = {"protocol": protocol, "data_dir": data_dir and str(data_dir)}
    lines = {"task": shown, "bench": known_tasks()[shown], "allow_unsandboxed": allow_unsandboxed, **options}
    path = folder / f"{shown}.yaml"
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items() if value is not None)
    path.write_text(f"class: !function {__name__}.BenchTask\n{text}", encoding="utf-8")
    return path


class BenchTask(ConfigurableTask):
    """A task of `list tasks` under its protocol; the metric is the protocol's headline.

    Raises UserError where the data are not to be had, or code would have to run without isolation.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        unsandboxed = bool(config.get("allow_unsandboxed"))
        data_dir = config.get("data_dir")
        self.bench = load_task(
            config["bench"],
            protocol=config.get("protocol"),
            data_dir=Path(data_dir) if data_dir else None,
            allow_unsandboxed=unsandboxed,
        )
        if self.bench.runs_code:
            choose_backend(unsandboxed)
        self.problems = self.bench.problems()
        rows = [{"doc_id": p.doc_id, "question": p.question, "gold": p.gold} for p in self.problems]
        test = datasets.Dataset.from_list(rows)

        # A function and not a method: lm-eval copies its configuration deeply, functions excepted.
        def judge(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
            """The headline of one response, by the scorer of `run` and `score`."""
            return {HEADLINE: float(self.bench.score(doc["doc_id"], results[0]).correct)}

        super().__init__(
            config={
                "task": config["task"],
                "custom_dataset": lambda **_: datasets.DatasetDict({"test": test}),
                "test_split": "test",
                "output_type": "generate_until",
                "doc_to_text": "{{question}}",
                "doc_to_target": "{{gold}}",
                "num_fewshot": 0,  # the protocol's shots are in the prompt already
                "generation_kwargs": {
                    "until": list(self.bench.until),
                    "max_gen_toks": self.bench.gen_length,
                    "do_sample": False,
                },
                "process_results": judge,
                "metric_list": [{"metric": HEADLINE, "aggregation": "mean", "higher_is_better": True}],
                "metadata": {"protocol": self.bench.protocol.name, "protocol_hash": self.bench.protocol_hash},
            }
        )

    def fewshot_context(  # type: ignore[override]
        self,
        doc: dict[str, Any],
        num_fewshot: int = 0,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        chat_template: Callable[..., str] | None = None,
        **kwargs: Any,
    ) -> str:
        """The protocol's prompt. Raises UserError where --apply_chat_template contradicts the protocol."""
        problem = self.problems[doc["doc_id"]]
        if problem.chat != apply_chat_template:
            raise UserError(
                f"protocol {self.bench.protocol.name} asks {self.bench.name} "
                + ("in chat: add" if problem.chat else "without a chat template: leave out")
                + " --apply_chat_template"
            )
        if chat_template is None:
            return problem.prompt + problem.prefix
        messages = [{"role": "user", "content": problem.prompt}]
        if system_instruction:
            messages.insert(0, {"role": "system", "content": system_instruction})
        return chat_template(messages, add_generation_prompt=True) + problem.prefix
