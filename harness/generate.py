"""Prompts in, decoded text and tokens out: the `generate` command without its argument parsing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.decoding import Generation, decode
from harness.decoding.request import check_prompt
from harness.errors import UserError, check_text
from harness.models.loading import LoadedModel, load_model
from harness.prepare import prepare, reference_strategy
from strategies import Strategy, parse
from strategies.plugins import load_entry_points, load_file

GEN_LENGTH, DEMO_GEN_LENGTH, BLOCK_LENGTH = 256, 128, 32


@dataclass(frozen=True)
class Request:
    """What to decode and how; the fields are the command's options."""

    model: str
    strategy: str
    source: Path
    target: Path
    gen_length: int | None = None
    block_length: int | None = None
    temperature: float = 0.0
    seed: int = 0
    batch_size: int = 16
    dtype: str = "auto"
    device: str = "auto"
    raw: bool = False
    trace: bool = False
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """One line of the input: an id of the user's and token ids or text."""

    id: Any
    text: str | None
    ids: tuple[int, ...] | None


def read_prompts(path: Path) -> list[Prompt]:
    """Read `{"id": ..., "prompt": str}` or `{"id": ..., "prompt_ids": [int]}` lines.

    Raises UserError that names the line of the first that is broken.
    """
    try:
        lines = path.read_bytes().split(b"\n")  # not splitlines: a JSON string may hold U+2028
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    prompts = [
        _prompt(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not prompts:
        raise UserError(f"{path} holds no prompt")
    return prompts


def _prompt(line: bytes, where: str) -> Prompt:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON in UTF-8 ({error})") from error
    if not isinstance(raw, dict) or "id" not in raw:
        raise UserError(f'{where}: not an object with "id"')
    text, ids = raw.get("prompt"), raw.get("prompt_ids")
    if (text is None) == (ids is None):
        raise UserError(f'{where}: give either "prompt" or "prompt_ids"')
    if text is not None and not isinstance(text, str):
        raise UserError(f'{where}: "prompt" is not a string')
    if text is not None:
        check_text(text, f'{where}: "prompt"')
    if ids is not None and not (
        isinstance(ids, list) and ids and all(type(token) is int and token >= 0 for token in ids)
    ):
        raise UserError(f'{where}: "prompt_ids" is not a list of token ids')
    return Prompt(raw["id"], text, None if ids is None else tuple(ids))


def generate(request: Request) -> None:
    """Decode every prompt of the source file and write the target, in the same order.

    Raises UserError or SpecError before anything is decoded where the request cannot be met.
    """
    if not 0 <= request.temperature < math.inf or request.batch_size < 1:
        raise UserError("--temperature must be finite and at least 0, and --batch-size at least 1")
    load_entry_points()
    for plugin in request.plugins:
        load_file(plugin)
    strategy = parse(request.strategy)
    prompts = read_prompts(request.source)
    _check_writable(request.target)
    if request.target.exists() and request.target.samefile(request.source):
        raise UserError(f"--output {request.target} is the input; the answers would replace the prompts")
    loaded = load_model(request.model, dtype=request.dtype, device=request.device, adapter=strategy.adapter)
    gen_length = request.gen_length
    if gen_length is None:
        gen_length = DEMO_GEN_LENGTH if request.model == "demo" else GEN_LENGTH
    block_length = request.block_length if request.block_length is not None else min(BLOCK_LENGTH, gen_length)
    strategy = prepare(strategy, loaded, gen_length, block_length)
    ids = [_ids(prompt, loaded, request.raw) for prompt in prompts]
    for prompt, own in zip(prompts, ids, strict=True):
        check_prompt(loaded.model, own, gen_length, repr(prompt.id))  # before a former output is overwritten
        if loaded.config.mask_id in own:
            raise UserError(f"prompt {prompt.id!r} holds the mask token, which nothing would fill in there")
    with request.target.open("w", encoding="utf-8") as out:
        waiting: dict[int, Generation] = {}
        written = 0

        def write(number: int, generation: Generation) -> None:
            """Keep the input's order, and lose nothing that is finished if the process dies."""
            nonlocal written
            waiting[number] = generation
            while written in waiting:
                record = _record(prompts[written], waiting.pop(written), loaded, request.trace)
                out.write(json.dumps(record) + "\n")
                out.flush()
                written += 1

        decode_with_references(
            loaded,
            ids,
            strategy,
            gen_length=gen_length,
            block_length=block_length,
            batch_size=request.batch_size,
            temperature=request.temperature,
            seeds=[request.seed + number for number in range(len(ids))],
            on_finish=write,
        )


def decode_with_references(
    loaded: LoadedModel, prompts: Sequence[list[int]], strategy: Strategy, **options: Any
) -> list[Generation]:
    """`decode`, after the reference decode where the strategy (the oracle) needs one."""
    reference = reference_strategy(strategy)
    if reference is not None:
        reference = prepare(reference, loaded, options["gen_length"], options["block_length"])
        quiet = {name: value for name, value in options.items() if name != "on_finish"}
        known = decode(loaded, prompts, reference, **quiet)
        options["references"] = [generation.output_ids for generation in known]
    return decode(loaded, prompts, strategy, **options)


def _ids(prompt: Prompt, loaded: LoadedModel, raw: bool) -> list[int]:
    """Token ids of a prompt; text goes through the model's chat template where it has one, unless `raw`."""
    if prompt.ids is not None:
        return list(prompt.ids)
    assert prompt.text is not None
    if loaded.tokenizer is None:
        raise UserError(
            f"{loaded.path} has no tokenizer files; give prompt_ids in place of prompt {prompt.id!r}"
        )
    chat = loaded.tokenizer.has_chat and not raw
    return loaded.tokenizer.chat(prompt.text) if chat else loaded.tokenizer.encode(prompt.text)


def _record(prompt: Prompt, generation: Generation, loaded: LoadedModel, trace: bool) -> dict[str, Any]:
    ends = set(loaded.config.terminators)
    kept = next((i for i, token in enumerate(generation.output_ids) if token in ends), None)
    record = {
        "id": prompt.id,
        "prompt_ids": generation.prompt_ids,
        "output_ids": generation.output_ids,
        "text": loaded.tokenizer.decode(generation.output_ids[:kept]) if loaded.tokenizer else "",
        "nfe": generation.nfe,
    }
    if trace:
        record["trace"] = generation.events
    return record


def _check_writable(target: Path) -> None:
    """Fail before decoding, not after, where the output cannot be written."""
    parent = target.parent
    if not parent.is_dir():
        raise UserError(f"directory {parent} of --output does not exist")
    if target.is_dir() or not os.access(target if target.exists() else parent, os.W_OK):
        raise UserError(f"cannot write {target}: no permission, or it is a directory")
