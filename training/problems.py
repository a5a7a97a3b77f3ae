"""Problems of a task, decoded and scored: what the teacher's trajectories and the evaluation hook share."""

from __future__ import annotations

from dataclasses import dataclass

from harness.decoding import Generation, decode
from harness.errors import UserError
from harness.models.loading import LoadedModel
from harness.prepare import prepare
from harness.tasks.base import Problem, Score
from harness.tasks.registry import load_task
from strategies import Strategy


@dataclass(frozen=True)
class Decoded:
    """A problem, its decode, the text of its response and, where asked for, its score."""

    problem: Problem
    generation: Generation
    text: str
    score: Score | None


def encode_problem(problem: Problem, loaded: LoadedModel) -> list[int]:
    """The prompt's ids, behind the chat template where the protocol uses one."""
    if loaded.tokenizer is None:
        raise UserError(f"{loaded.path} has no tokenizer files; tasks need them")
    encode = loaded.tokenizer.chat if problem.chat else loaded.tokenizer.encode
    return encode(problem.prompt)
