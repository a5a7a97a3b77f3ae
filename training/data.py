"""Distillation data: trajectories as JSON lines, or the two-text form that dParallel released."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from harness.errors import UserError
from harness.models.config import ModelConfig
from harness.models.tokenizer import Tokenizer

TRAJECTORIES = "trajectories.jsonl"
SOURCE = "trajectories.json"  # beside them: how they were made


@dataclass(frozen=True)
class Example:
    """One prompt and the teacher's response to it.

    response_ids: up to and including the first terminator. commit_step: for the response and the
    end-of-text after it, the teacher's forward that committed each position; None where unknown.
    """

    prompt_ids: list[int]
    response_ids: list[int]
    commit_step: list[int] | None = None


@dataclass(frozen=True)
class Canvas:
    """How long a training row is: `length` columns in all, or `response_length` behind each prompt.

    The first is dParallel's form (384 columns whatever the prompt), the second what a decode sees.
    """

    length: int | None = None
    response_length: int | None = None

    def __post_init__(self) -> None:
        if (self.length is None) == (self.response_length is None):
            raise UserError(
                "the data section needs either length (in all) or response_length (behind the prompt)"
            )
        if (self.length or self.response_length or 0) < 1:
            raise UserError("length or response_length of the data section must be at least 1")

    def end(self, example: Example) -> int:
        """One past the last column of an example's row."""
        if self.length is not None:
            return self.length
        assert self.response_length is not None
        return len(example.prompt_ids) + self.response_length

    def holds(self, example: Example) -> bool:
        return len(example.prompt_ids) + len(example.response_ids) <= self.end(example)


def read_records(source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, record) of a JSON-lines file, a trajectories directory or a dataset on the hub.

    Raises UserError for a missing file, a line that is not a JSON object, or an unreachable dataset.
    """
    path = Path(source)
    if path.is_dir():
        path = path / TRAJECTORIES
    if not path.is_file():
        yield from _hub_records(source, path)
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number}: not JSON in UTF-8 ({error})") from error
            if not isinstance(record, dict):
                raise UserError(
                    f"{path}, line {number}: a JSON object is needed, found {type(record).__name__}"
                )
            yield f"{path}, line {number}", record


def described(source: str) -> str:
    """What a card says of its data: its place, and the command that made it where that is known."""
    record = Path(source) / SOURCE
    if not record.is_file():
        return source
    return f"{source}, made by `{json.loads(record.read_text())['command']}`"


def fingerprint(source: str) -> str | None:
    """SHA-256 of a local source's content, so that a changed file is noticed; None for the hub's."""
    path = Path(source) / TRAJECTORIES if Path(source).is_dir() else Path(source)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _hub_records(source: str, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if source.count("/") != 1 or source.startswith((".", "/")) or path.suffix == ".jsonl":
        raise UserError(
            f"{path} does not exist; a .jsonl file, a trajectories directory or a hub id is needed"
        )
    import datasets

    try:
        rows = datasets.load_dataset(source, split="train")
    except Exception as error:  # the hub client's many error types all mean the same to the user
        raise UserError(f"the dataset {source} cannot be read ({error}); give a local .jsonl file") from error
    for number, row in enumerate(rows, 1):
        yield f"{source}, row {number}", dict(row)


def parse_example(
    place: str, record: dict[str, Any], config: ModelConfig, tokenizer: Tokenizer | None
) -> Example:
    """One record of either form. Raises UserError naming the place and what is wrong with it."""
    if "prompt_ids" in record or "response_ids" in record:
        return _from_trajectory(place, record, config)
    missing = [key for key in ("question", "llm_response") if not isinstance(record.get(key), str)]
    if missing:
        raise UserError(
            f"{place}: {' and '.join(missing)} missing or no text; needed are question and llm_response,"
            " or prompt_ids and response_ids"
        )
    if not record["question"] or not record["llm_response"]:
        raise UserError(f"{place}: question or llm_response is empty")
    if tokenizer is None:
        raise UserError(f"{place}: text needs a tokenizer, and this checkpoint has none")
    response = tokenizer.fast.encode(record["llm_response"], add_special_tokens=False)
    return Example(encode_prompt(record["question"], tokenizer), _ended(response, config))


def encode_prompt(question: str, tokenizer: Tokenizer) -> list[int]:
    """Ids of a question; the chat template is applied unless the text already carries its special tokens.

    dParallel's data stores the templated text; plain questions are what other data sets hold.
    """
    templated = any(token in question for token in tokenizer.fast.get_added_vocab())
    return tokenizer.encode(question) if templated or not tokenizer.has_chat else tokenizer.chat(question)


def _from_trajectory(place: str, record: dict[str, Any], config: ModelConfig) -> Example:
    prompt, response = trajectory_ids(place, record, config)
    steps = record.get("commit_step")
    if steps is not None and (not isinstance(steps, list) or len(steps) != len(response)):
        raise UserError(f"{place}: commit_step must have one number for each of response_ids")
    if steps is not None and not all(type(step) is int and step >= 1 for step in steps):
        raise UserError(f"{place}: commit_step must hold whole numbers from 1 on")
    return Example(prompt, until_terminator(response, config.terminators), steps)


def trajectory_ids(place: str, record: dict[str, Any], config: ModelConfig) -> tuple[list[int], list[int]]:
    """prompt_ids and response_ids of a trajectory, as decoded. Raises UserError naming the place."""
    for key in ("prompt_ids", "response_ids"):
        value = record.get(key)
        if not isinstance(value, list) or not value or not all(type(token) is int for token in value):
            raise UserError(f"{place}: {key} must be a list of token ids that is not empty")
        if not all(0 <= token < config.vocab_rows for token in value):
            raise UserError(f"{place}: {key} has ids outside the model's vocabulary of {config.vocab_rows}")
    return record["prompt_ids"], record["response_ids"]


def until_terminator(ids: list[int], terminators: Sequence[int]) -> list[int]:
    """The ids up to and including the first terminator."""
    return next((ids[: at + 1] for at, token in enumerate(ids) if token in terminators), ids)


def _ended(ids: list[int], config: ModelConfig) -> list[int]:
    """A response text's ids, closed by end-of-text where the text itself has no terminator."""
    if any(token in config.terminators for token in ids):
        return until_terminator(ids, config.terminators)
    return [*ids, config.terminators[0]]


def read_examples(
    source: str, config: ModelConfig, tokenizer: Tokenizer | None, canvas: Canvas
) -> list[Example]:
    """All examples that fit the canvas; those left out are counted and said on stderr.

    Raises UserError for malformed data (naming the line) and where nothing is left.
    """
    examples, left_out = [], Counter[str]()
    for place, record in read_records(source):
        example = parse_example(place, record, config, tokenizer)
        if not canvas.holds(example):
            left_out["too long"] += 1
        elif canvas.end(example) > config.max_length:
            left_out[f"beyond the model's context of {config.max_length}"] += 1
        elif example.response_ids[-1] not in config.terminators:
            left_out["unfinished (no end of text)"] += 1
        else:
            examples.append(example)
    if left_out:
        limit = f"{canvas.length} columns" if canvas.length else f"{canvas.response_length} response tokens"
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        total = len(examples) + sum(left_out.values())
        print(f"{source}: {reasons} of {total} examples left out (limit {limit})", file=sys.stderr)
    if not examples:
        raise UserError(
            f"{source}: no usable example ({'all left out' if left_out else 'the data is empty'})"
        )
    return examples


class Examples(Dataset[dict[str, Any]]):
    """Examples with their index, which seeds each one's noise."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"index": index, "example": self.examples[index]}


@dataclass(frozen=True)
class Collator:
    """Rows of a batch: prompt, response, end-of-text to the row's end, padding to the longest row.

    Gives tokens and commit_step [B, L] (0 in prompts, and one past the last where the teacher stopped
    before the row's end) and prompt_lengths, lengths, index [B].
    """

    canvas: Canvas
    config: ModelConfig

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        examples = [item["example"] for item in items]
        ends = [self.canvas.end(example) for example in examples]
        tokens = torch.full((len(items), max(ends)), self.config.pad_id)
        steps = torch.zeros_like(tokens)
        for row, (example, end) in enumerate(zip(examples, ends, strict=True)):
            start = len(example.prompt_ids)
            known = (example.commit_step or [])[: end - start]
            written = example.prompt_ids + example.response_ids
            tokens[row, : len(written)] = torch.tensor(written)
            tokens[row, len(written) : end] = self.config.terminators[0]
            steps[row, start:end] = max(known, default=0) + 1
            steps[row, start : start + len(known)] = torch.tensor(known, dtype=torch.long)
        return {
            "tokens": tokens,
            "commit_step": steps,
            "prompt_lengths": torch.tensor([len(example.prompt_ids) for example in examples]),
            "lengths": torch.tensor(ends),
            "index": torch.tensor([item["index"] for item in items]),
        }
