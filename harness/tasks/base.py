"""What a task hands out and takes back: problems, scores and one-line descriptions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Doc = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """One problem as a model sees it.

    `prompt` is the whole text the protocol builds, before the chat template; where `chat` is true it is the
    user's turn, and `prefix` (usually empty) opens the assistant's turn after the template. `until` are the
    strings a response ends before. `doc_id` is the row number in the split.
    """

    doc_id: int
    prompt: str
    chat: bool
    doc: Doc = field(repr=False)
    until: tuple[str, ...]
    gold: str
    question: str
    prefix: str = ""


@dataclass(frozen=True)
class Score:
    """What a grader says of one response.

    `correct` is the task's headline metric, `extracted` the answer or program that was judged. `error` says
    why a program did not pass or a response could not be judged; a plain wrong answer has none.
    """

    doc_id: int
    extracted: str | None
    correct: bool
    metrics: dict[str, float]
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The line `python -m harness score` writes."""
        return {
            "doc_id": self.doc_id,
            "extracted": self.extracted,
            "correct": self.correct,
            "metrics": self.metrics,
            "error": self.error,
        }


@dataclass(frozen=True)
class TaskInfo:
    """One line of `list tasks`."""

    name: str
    about: str
    headline: str
    source: str
    runs_code: bool
