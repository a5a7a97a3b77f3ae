"""Problems of a task's training split, decoded and scored by what `run` decodes and scores with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.decoding import Generation, decode
from harness.models.loading import LoadedModel
from harness.prepare import prepare
from harness.response import prompt_ids, read_response
from harness.tasks.base import Doc, Problem, Score
from harness.tasks.registry import load_task
from harness.tasks.task import Task
from strategies import Strategy


class SplitTask(Task):
    """A task whose problems are those of another split, the demo suites' made as many as asked for."""

    split = "train"
    count: int | None = None

    @classmethod
    def of(cls, name: str, split: str, count: int | None, **options: Any) -> SplitTask:
        """The task of that name over `count` problems of `split`. Raises UserError as load_task does."""
        base = load_task(name, **options)
        task = cls(
            base.name,
            base.protocol,
            base.definition,
            data_dir=base.data_dir,
            allow_unsandboxed=base.allow_unsandboxed,
        )
        task.split, task.count = split, count
        return task

    def _rows(self, split: str) -> list[Doc]:
        if split != "test":
            return super()._rows(split)
        if self.definition.demo and self.count is not None:
            from harness.tasks.demo import generate

            fields = self.definition.fields
            docs = generate(self.definition.name, self.split, self.count)
            return [{name: doc[name] for name in fields} for doc in docs]
        return super()._rows(self.split)[: self.count]


@dataclass(frozen=True)
class Decoded:
    """A problem, its decode, the text of its response and the task's verdict."""

    problem: Problem
    generation: Generation
    text: str
    score: Score


def encode_problem(problem: Problem, loaded: LoadedModel) -> list[int]:
    """The prompt's ids, behind the chat template where the protocol uses one."""
    return prompt_ids(loaded.need_tokenizer(), problem.prompt, chat=problem.chat, prefix=problem.prefix)


def response_text(generation: Generation, loaded: LoadedModel) -> str:
    """The text of a generation before its first terminator."""
    return read_response(
        generation.output_ids, loaded.need_tokenizer(), loaded.config.terminators, until=()
    ).text


def decode_problems(
    loaded: LoadedModel, strategy: Strategy, task: Task, batch_size: int = 16
) -> Iterator[Decoded]:
    """Decode and score all problems of a task at its protocol's lengths."""
    problems: Sequence[Problem] = task.problems()
    generations = decode(
        loaded,
        [encode_problem(problem, loaded) for problem in problems],
        prepare(strategy, loaded, task.gen_length, task.block_length),
        gen_length=task.gen_length,
        block_length=task.block_length,
        batch_size=batch_size,
    )
    texts = [response_text(generation, loaded) for generation in generations]
    scores = task.score_many([(problem.doc_id, text) for problem, text in zip(problems, texts, strict=True)])
    for item in zip(problems, generations, texts, scores, strict=True):
        yield Decoded(*item)
