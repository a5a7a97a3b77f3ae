"""What a bench decodes: a real or random model, and prompts of a task, of a file's lengths or synthetic."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness.decoding.decoder import Decoder
from harness.decoding.loop import decode
from harness.errors import UserError
from harness.models.loading import LoadedModel
from harness.models.transformer import Denoiser
from harness.prepare import prepare, reference_strategy
from harness.response import prompt_ids
from harness.tasks.registry import load_task
from strategies import Strategy

D = TypeVar("D", bound=Decoder)
WORD = re.compile(r"\w{1,6}|[^\w\s]")  # about what a tokenizer of a large vocabulary makes of English
TURN = 24  # tokens of an instruction and a chat template around a question


@dataclass(frozen=True)
class Workload:
    """A model and prompts of token ids, to decode regions of `gen_length` in blocks of `block_length`."""

    loaded: LoadedModel
    prompts: list[list[int]]
    gen_length: int
    block_length: int

    @property
    def model(self) -> Denoiser:
        return self.loaded.model

    def prepared(self, strategy: Strategy) -> Strategy:
        """The strategy with the model's own parts filled in, checked against the lengths."""
        return prepare(strategy, self.loaded, self.gen_length, self.block_length)

    def decoder(self, kind: type[D], prompts: Sequence[list[int]], strategy: Strategy, slots: int) -> D:
        """A decoder, one lane of a decode, with room for `slots` of the prompts at once."""
        return kind(
            self.model,
            strategy,
            slots=slots,
            length=max(map(len, prompts)) + self.gen_length,
            gen_length=self.gen_length,
            block_length=self.block_length,
        )

    def references(self, prompts: Sequence[list[int]], strategy: Strategy) -> list[list[int]] | None:
        """What an oracle imitates, None for other rules."""
        reference = reference_strategy(strategy)
        if reference is None:
            return None
        known = decode(
            self.model,
            prompts,
            self.prepared(reference),
            gen_length=self.gen_length,
            block_length=self.block_length,
        )
        return [generation.output_ids for generation in known]


def synthetic(lengths: Sequence[int], loaded: LoadedModel, seed: int) -> list[list[int]]:
    """Prompts of those lengths, of random tokens that are not special."""
    config, draw = loaded.config, random.Random(seed)
    special = {config.mask_id, config.pad_id, config.bos_id, *config.terminators}
    usual = [token for token in range(min(config.vocab_rows, 50_000)) if token not in special]
    return [draw.choices(usual, k=length) for length in lengths]


def drawn_lengths(bounds: tuple[int, int], count: int, seed: int) -> list[int]:
    """`count` lengths drawn evenly from `bounds`."""
    draw = random.Random(seed)
    return [draw.randint(*bounds) for _ in range(count)]


def file_lengths(path: Path, count: int, loaded: LoadedModel) -> list[int]:
    """Prompt lengths in tokens of a JSONL file's first `count` questions, gsm8k_test.jsonl's for example.

    By the model's tokenizer, or without one by a count of word pieces. Raises UserError.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    texts = []
    for number, line in enumerate(lines, 1):
        try:
            doc = json.loads(line)
            texts.append(next(doc[key] for key in ("question", "problem", "prompt", "text") if key in doc))
        except (ValueError, TypeError, StopIteration) as error:
            raise UserError(f"{path}, line {number}: no question, problem, prompt or text in it") from error
    if not texts:
        raise UserError(f"{path} holds no line")
    chosen = [texts[i % len(texts)] for i in range(count)]
    if loaded.tokenizer is not None:
        return [len(loaded.tokenizer.chat(text)) for text in chosen]
    return [TURN + len(WORD.findall(text)) for text in chosen]


def task_prompts(task: str, count: int, loaded: LoadedModel, data: Path | None) -> list[list[int]]:
    """The task's first `count` prompts as its default protocol builds them. Raises UserError."""
    if loaded.tokenizer is None:
        raise UserError("--task needs a tokenizer, which random weights have none of; give --data FILE")
    problems = load_task(task, data_dir=data).problems(count)
    return [
        prompt_ids(loaded.tokenizer, problem.prompt, chat=problem.chat, prefix=problem.prefix)
        for problem in problems
    ]
