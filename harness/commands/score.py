"""`python -m harness score`: judges stored responses without a model, by the code that `run` uses."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.sandbox import FLAG
from harness.tasks.base import Score
from harness.tasks.data import read_jsonl
from harness.tasks.registry import load_task
from harness.tasks.task import OPTIONS, Task


def add_parser(subparsers: Any) -> None:
    """Declares the subcommand."""
    parser = subparsers.add_parser(
        "score",
        help="judge stored responses",
        description='Judge the responses in a file of {"doc_id", "response"} lines, one JSON object a line.',
    )
    parser.add_argument("--task", required=True, help="a name from `list tasks`")
    parser.add_argument("--input", required=True, type=Path, metavar="RESPONSES.jsonl")
    parser.add_argument("--output", required=True, type=Path, metavar="SCORES.jsonl")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="read the benchmark from files here, not the hub"
    )
    parser.add_argument("--protocol", help="a name from `list protocols` (default: the task's own)")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME",
        help="; ".join(f"{name} = {about}" for name, about in OPTIONS.items()),
    )
    parser.add_argument(FLAG, action="store_true", dest="allow_unsandboxed_code", help="run code unprotected")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Writes a line of score for each line of response, and the totals to standard output."""
    task = load_task(
        args.task,
        protocol=args.protocol,
        data_dir=args.data,
        allow_unsandboxed=args.allow_unsandboxed_code,
        options=args.option,
    )
    responses = read_responses(args.input, task)
    try:
        with args.output.open("w", encoding="utf-8") as out:
            scores = list(_written(task.score_many(responses), out))
    except OSError as error:
        raise UserError(f"{args.output}: cannot be written ({error.strerror})") from None
    print(json.dumps(totals(task, scores)))
    return 0


def read_responses(path: Path, task: Task) -> list[tuple[int, str]]:
    """(doc_id, response) of every line. Raises UserError naming file and line."""
    responses = []
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        if not isinstance(row, dict):
            raise UserError(f"{where}: not a JSON object with doc_id and response")
        for name in ("doc_id", "response"):
            if name not in row:
                raise UserError(f"{where}: no field {name!r}")
        if not isinstance(row["response"], str):
            raise UserError(f"{where}: response is not a string")
        try:
            task.check_doc_id(row["doc_id"])
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        responses.append((row["doc_id"], row["response"]))
    return responses


def _written(scores: Iterator[Score], out: Any) -> Iterator[Score]:
    for score in scores:
        out.write(json.dumps(score.to_json(), ensure_ascii=False) + "\n")
        yield score


def totals(task: Task, scores: list[Score]) -> dict[str, Any]:
    """Counts and means over all scores; a mean of nothing is null."""
    count = len(scores)
    names = list(scores[0].metrics) if scores else []
    return {
        "task": task.name,
        "protocol": task.protocol.name,
        "protocol_hash": task.protocol_hash,
        "headline": task.headline,
        "n": count,
        "correct": sum(score.correct for score in scores),
        "accuracy": sum(score.correct for score in scores) / count if count else None,
        "errors": sum(score.error is not None for score in scores),
        "metrics": {name: sum(score.metrics[name] for score in scores) / count for name in names},
    }
