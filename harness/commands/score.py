"""`python -m harness score`: judges stored responses without a model, by the code that `run` uses."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

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
        description='Judge the responses in a file of {"doc_id", "response"} lines, one JSON object a line. '
        "The samples.jsonl of a run will do too: its samples of the task are judged again.",
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
    len(task)  # its rows are read before any line of the input can be blamed for them
    responses = read_responses(args.input, task)
    if args.output.exists() and args.output.samefile(args.input):
        raise UserError(f"--output {args.output} is the input; scores would replace the responses")
    try:
        with args.output.open("w", encoding="utf-8") as out:
            scores = list(_written(task, responses, out))
    except OSError as error:
        raise UserError(f"{args.output}: cannot be written ({error.strerror})") from None
    print(json.dumps(totals(task, responses, scores)))
    return 0


@dataclass(frozen=True)
class Response:
    """A line of input; `strategy` is known of the samples of a run."""

    doc_id: int
    text: str
    strategy: str | None = None


def read_responses(path: Path, task: Task) -> list[Response]:
    """Every response of a file, or of a run's samples those of the task that were decoded.

    A sample that a run wrote twice, when decoded and when judged, counts once. Raises UserError naming file
    and line.
    """
    responses: dict[object, Response] = {}
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        if not isinstance(row, dict):
            raise UserError(f"{where}: not a JSON object with doc_id and response")
        sample = "response" not in row and {"strategy", "task", "text"} <= row.keys()
        if sample and (row["task"] != task.name or row.get("status") == "failed"):
            continue
        strategy = row["strategy"] if sample else None
        row = {**row, "response": row["text"]} if sample else row
        for name in ("doc_id", "response"):
            if name not in row:
                raise UserError(f"{where}: no field {name!r}")
        if not isinstance(row["response"], str):
            raise UserError(f"{where}: response is not a string")
        try:
            task.check_doc_id(row["doc_id"])
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        key = (strategy, row["doc_id"]) if sample else number
        responses[key] = Response(row["doc_id"], row["response"], strategy)
    return list(responses.values())


def _written(task: Task, responses: list[Response], out: TextIO) -> Iterator[Score]:
    scores = task.score_many([(response.doc_id, response.text) for response in responses])
    for response, score in zip(responses, scores, strict=True):
        named = {} if response.strategy is None else {"strategy": response.strategy}
        out.write(json.dumps({**score.to_json(), **named}) + "\n")
        yield score


def totals(task: Task, responses: list[Response], scores: list[Score]) -> dict[str, Any]:
    """Counts and means over all scores, and of each strategy where they are known; no mean of nothing."""
    groups: dict[str, list[Score]] = {}
    for response, score in zip(responses, scores, strict=True):
        if response.strategy is not None:
            groups.setdefault(response.strategy, []).append(score)
    strategies = {strategy: _counts(group) for strategy, group in groups.items()}
    return {
        "task": task.name,
        "protocol": task.protocol.name,
        "protocol_hash": task.protocol_hash,
        "headline": task.headline,
        **_counts(scores),
        **({"strategies": strategies} if strategies else {}),
    }


def _counts(scores: list[Score]) -> dict[str, Any]:
    count, right = len(scores), sum(score.correct for score in scores)
    names = list(scores[0].metrics) if scores else []
    return {
        "n": count,
        "correct": right,
        "accuracy": right / count if count else None,
        "errors": sum(score.error is not None for score in scores),
        "metrics": {name: sum(score.metrics[name] for score in scores) / count for name in names},
    }
