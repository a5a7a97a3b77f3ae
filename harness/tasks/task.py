"""A task: one benchmark under one protocol, which gives problems out and judges responses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.sandbox import Program, run_programs
from harness.tasks import postprocess
from harness.tasks.base import Doc, Problem, Score
from harness.tasks.data import load_rows
from harness.tasks.grade_math import shared_grader
from harness.tasks.lmeval import Definition, Engine
from harness.tasks.protocols import Protocol, TaskProtocol

SETUP_CODE = "setup-code"
OPTIONS = {
    SETUP_CODE: "mbpp: run test_setup_code after the candidate, which lm-eval leaves out (task_id 367)"
}
ANSWER_MARK = "#### "


class Task:
    """A benchmark under a protocol. Prompts, extraction and metrics are lm-eval's wherever it has them.

    `name` is the task's, `headline` the metric that `Score.correct` reports, `gen_length` and `block_length`
    the protocol's, in tokens.
    """

    def __init__(
        self,
        name: str,
        protocol: Protocol,
        definition: Definition,
        *,
        data_dir: Path | None = None,
        allow_unsandboxed: bool = False,
        options: frozenset[str] = frozenset(),
    ) -> None:
        self.name = name
        self.protocol = protocol
        self.definition = definition
        self.settings: TaskProtocol = protocol.tasks[name]
        self.data_dir = data_dir
        self.allow_unsandboxed = allow_unsandboxed
        self.options = options
        self.gen_length = self.settings.gen_length
        self.block_length = self.settings.block_length
        self.headline = self.settings.headline or definition.headline

    @property
    def protocol_hash(self) -> str:
        """The hash of the protocol that asks and judges."""
        return self.protocol.hash

    @property
    def runs_code(self) -> bool:
        """Whether judging a response runs it."""
        return self.definition.grader == "code"

    @functools.cached_property
    def engine(self) -> Engine:
        """lm-eval's task over this one's rows."""
        shots = self.settings.shots
        rows = {"test": self._rows("test")}
        if shots and self.definition.config.get("fewshot_split") == "train":
            rows["train"] = self._rows("train")
        return Engine(self._config(), rows, shots)

    @functools.cached_property
    def until(self) -> tuple[str, ...]:
        """The strings a response ends before."""
        return self.engine.until() if self.settings.until is None else self.settings.until

    def _rows(self, split: str) -> list[Doc]:
        fields = self.definition.fields
        rows = load_rows(self.definition, split, self.data_dir, fields)
        return [{name: row[name] for name in fields} for row in rows]

    def _config(self) -> dict[str, Any]:
        config = dict(self.definition.config)
        if self.definition.demo:
            from harness.tasks.demo import prompt_text

            config["doc_to_text"] = prompt_text
        if self.settings.text is not None:
            config["doc_to_text"] = self.settings.text
        if self.settings.prefix is not None:
            config["gen_prefix"] = self.settings.prefix
        if self.settings.extract:
            config["filter_list"] = [*config.get("filter_list", ()), *self.settings.extract]
        return config

    def __len__(self) -> int:
        return len(self.engine.docs)

    def problems(self, limit: int | None = None, split: str = "test") -> list[Problem]:
        """The first `limit` problems of a split, in its order. Raises UserError for one that is not there."""
        engine = self.engine
        docs = engine.docs if split == "test" else engine.prepared(self._rows(split))
        prompts = engine.prompts(limit, docs)
        return [
            self._problem(index, doc, prompt)
            for index, (doc, prompt) in enumerate(zip(docs, prompts, strict=False))
        ]

    def _problem(self, doc_id: int, doc: Doc, prompt: str) -> Problem:
        prefix = self.engine.prefix(doc)
        prompt += self.settings.tail
        return Problem(
            doc_id=doc_id,
            prompt=prompt if self.settings.chat else prompt + prefix,
            chat=self.settings.chat,
            doc=doc,
            until=self.until,
            gold=gold(doc),
            question=question(doc),
            prefix=prefix if self.settings.chat else "",
        )

    def score(self, doc_id: int, response: str) -> Score:
        """Judges one response, the decoded text before any stop string is applied."""
        return next(iter(self.score_many([(doc_id, response)])))

    def score_many(self, items: list[tuple[int, str]]) -> Iterator[Score]:
        """Judges (doc_id, response) pairs, in order. Raises UserError for an unknown doc_id."""
        for doc_id, _ in items:
            self.check_doc_id(doc_id)
        graders: dict[str, Callable[[list[tuple[int, str]]], Iterator[Score]]] = {
            "filters": self._score_text,
            "math": self._score_math,
            "code": self._score_code,
        }
        return graders[self.definition.grader](items)

    def check_doc_id(self, doc_id: Any) -> None:
        """Raises UserError unless `doc_id` is the row number of a problem."""
        if not isinstance(doc_id, int) or isinstance(doc_id, bool) or not 0 <= doc_id < len(self):
            raise UserError(f"unknown doc_id {doc_id!r}: {self.name} has rows 0 to {len(self) - 1}")

    def _score_text(self, items: list[tuple[int, str]]) -> Iterator[Score]:
        for doc_id, response in items:
            doc = self.engine.docs[doc_id]
            extracted = self.engine.extract(doc, postprocess.cut(response, self.until))
            metrics = self.engine.metrics(doc, extracted)
            shown = extracted[self.headline.split(",")[1]]
            yield Score(doc_id, shown, bool(metrics[self.headline]), metrics)

    def _score_math(self, items: list[tuple[int, str]]) -> Iterator[Score]:
        pairs = [(self.engine.docs[i], postprocess.cut(response, self.until)) for i, response in items]
        for (doc_id, _), reply in zip(items, shared_grader().grade_many(pairs), strict=True):
            if "error" in reply:
                metrics = {"exact_match": 0.0, "math_verify": 0.0}
                yield Score(doc_id, None, False, metrics, reply["error"])
            else:
                correct = bool(reply["metrics"][self.headline])
                yield Score(doc_id, reply["extracted"], correct, reply["metrics"])

    def _score_code(self, items: list[tuple[int, str]]) -> Iterator[Score]:
        programs = [self.program(doc_id, response) for doc_id, response in items]
        verdicts = run_programs(programs, allow_unsandboxed=self.allow_unsandboxed)
        for (doc_id, _), program, verdict in zip(items, programs, verdicts, strict=True):
            metrics = {"pass@1": float(verdict.passed)}
            yield Score(doc_id, program.candidate, verdict.passed, metrics, verdict.error)

    def program(self, doc_id: int, response: str) -> Program:
        """The candidate that a response makes and the tests it is run against.

        A demo answer goes on behind the opening that its task gives away, or is a whole function.
        """
        doc = self.engine.docs[doc_id]
        response = postprocess.cut(response, self.until)
        if self.definition.demo and not response.lstrip().startswith("def "):
            response = self.engine.prefix(doc) + response
        candidate = self._candidate(doc, response)
        if SETUP_CODE in self.options and doc.get("test_setup_code"):
            candidate += "\n" + doc["test_setup_code"]
        exports = {doc["entry_point"]} if "entry_point" in doc else postprocess.defined(doc["code"])
        return Program(candidate, self.engine.target(doc), frozenset(exports))

    def _candidate(self, doc: Doc, response: str) -> str:
        if self.settings.postprocess == "none":
            (extracted,) = self.engine.extract(doc, response).values()
            return extracted[0] if isinstance(extracted, list) else extracted
        if "entry_point" in doc:
            return postprocess.completion(
                doc["prompt"], response, doc["entry_point"], doc["test"], self.engine.until()
            )
        return postprocess.function(response, clean=self.settings.postprocess == "sanitize")


def gold(doc: Doc) -> str:
    """The reference answer of a row, as short as it comes."""
    if "question" in doc:
        return doc["answer"].rsplit(ANSWER_MARK, 1)[-1].strip()
    if "problem" in doc:
        return doc["answer"]
    return doc.get("canonical_solution") or doc["code"]


def question(doc: Doc) -> str:
    """What a row asks, without examples or instructions."""
    return next(doc[name] for name in ("question", "problem", "prompt", "text") if name in doc)
