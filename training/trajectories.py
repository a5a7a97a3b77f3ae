"""`python -m training trajectories`: a teacher decodes prompts; its responses are kept with their order."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from training.arguments import positive
from training.data import SOURCE, TRAJECTORIES, read_records

if TYPE_CHECKING:  # the command's help must not wait for the models
    from harness.decoding import Generation
    from harness.models.loading import LoadedModel
    from strategies import Strategy
    from training.problems import SplitTask

DECODED = "decoded.jsonl"  # every response so far, in the order in which they finished


@dataclass(frozen=True)
class Prompt:
    """Something to decode: its place in the output, its question and its ids."""

    task: str
    doc_id: int
    question: str
    ids: list[int]
    gen_length: int
    block_length: int

    @property
    def key(self) -> tuple[str, int]:
        return self.task, self.doc_id


def add_parser(subparsers: Any) -> None:
    """Register the command; nothing heavy is imported until it runs."""
    parser = subparsers.add_parser("trajectories", description=__doc__)
    parser.add_argument("--model", default="demo", help="name, hub id or directory of the teacher")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--tasks", help="tasks whose training problems are decoded, comma-separated")
    source.add_argument("--questions", help="a .jsonl file or hub data set with a field question")
    parser.add_argument("--strategy", default="fixed", help="strategy spec of the teacher's decode")
    parser.add_argument("--output", type=Path, required=True, help=f"directory for {TRAJECTORIES}")
    parser.add_argument("--split", default="train", help="split of the tasks (default: train)")
    parser.add_argument("--limit", type=positive, help="problems a task, or questions in all")
    parser.add_argument("--only-correct", action="store_true", help="keep what the task's scorer accepts")
    parser.add_argument("--gen-length", type=positive)
    parser.add_argument("--block-length", type=positive)
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--data", type=Path, help="directory with the benchmarks' files, in place of the hub")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--allow-unsandboxed", action="store_true")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Decode what is not decoded yet, then write the kept responses in the prompts' order."""
    from harness.decoding.request import check_region
    from harness.models.catalog import locate
    from harness.models.loading import load_model
    from harness.prepare import prepare
    from harness.runner_plan import fingerprints
    from strategies import parse
    from training.problems import SplitTask

    if args.questions and args.only_correct:
        raise UserError("--only-correct needs a task's scorer; use --tasks in place of --questions")
    strategy = parse(args.strategy)
    names = args.tasks.split(",") if args.tasks else []
    options = {"data_dir": args.data, "allow_unsandboxed": args.allow_unsandboxed}
    tasks = {name: SplitTask.of(name, args.split, args.limit, **options) for name in names}
    settings = settled(args, fingerprints((), locate(args.model), [strategy]))
    loaded = load_model(args.model, dtype=args.dtype, device=args.device, adapter=strategy.adapter)
    prompts = list(prompts_of(args, tasks, loaded))
    if not prompts:
        raise UserError(f"{args.questions or args.tasks!r}: there is nothing to decode")
    for lengths in {(prompt.gen_length, prompt.block_length) for prompt in prompts}:
        check_region(prepare(strategy, loaded, *lengths), *lengths)
    done = open_output(args, settings)
    stale = [p for p in prompts if done.get(p.key, {}).get("prompt_ids", p.ids) != p.ids]
    if stale:
        raise UserError(
            f"{args.output} answered another question {stale[0].doc_id} of {stale[0].task} than is asked now;"
            " choose another --output"
        )
    waiting = [prompt for prompt in prompts if prompt.key not in done]
    if done:
        print(f"{len(prompts) - len(waiting)} of {len(prompts)} prompts are decoded already", file=sys.stderr)
    decode_all(waiting, loaded, strategy, args, done)
    kept = [done[prompt.key] for prompt in prompts]
    if args.only_correct:
        kept = only_correct(kept, tasks)
    lines = "".join(f"{json.dumps(record)}\n" for record in kept)
    (args.output / TRAJECTORIES).write_text(lines, encoding="utf-8")
    mean = sum(record["nfe"] for record in kept) / max(len(kept), 1)
    print(f"{len(kept)} of {len(prompts)} responses kept, {mean:.1f} NFE each: {args.output / TRAJECTORIES}")
    return 0


def settled(args: argparse.Namespace, files: dict[str, str]) -> dict[str, Any]:
    """What decides the responses: the settings and the digests of the model's files.

    Raises UserError where the output directory holds a run with others, before any weights are loaded.
    """
    keep = (
        "model",
        "tasks",
        "questions",
        "strategy",
        "split",
        "gen_length",
        "block_length",
        "dtype",
    )
    now = {**{key: getattr(args, key) for key in keep}, "model files": files}
    record, decoded = args.output / SOURCE, args.output / DECODED
    if record.exists() and decoded.exists():
        before = json.loads(record.read_text())
        changed = [f"--{key.replace('_', '-')}" for key in keep if before.get(key) != now[key]]
        if not changed and before.get("model files", files) != files:
            changed = ["state of the model's files"]
        if changed:
            raise UserError(
                f"{args.output} holds a run with another {', '.join(changed)}; choose another --output"
            )
    return now


def open_output(args: argparse.Namespace, settings: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """Make the directory, write its settings; the records of an earlier run of the same, by task and number.

    Raises UserError for a line that is no record.
    """
    args.output.mkdir(parents=True, exist_ok=True)
    decoded = args.output / DECODED
    (args.output / SOURCE).write_text(json.dumps({**settings, "command": args.typed}, indent=1))
    if not decoded.exists():
        return {}
    lines = decoded.read_text(encoding="utf-8").split("\n")
    # What follows the last newline was being written when the run was killed.
    decoded.write_text("".join(f"{line}\n" for line in lines[:-1]), encoding="utf-8")
    done = {}
    for number, line in enumerate(lines[:-1], 1):
        try:
            found = json.loads(line)
            done[found["task"], found["doc_id"]] = found
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{decoded}, line {number}: no response of an earlier run; delete the line to decode anew"
            ) from error
    return done


def prompts_of(
    args: argparse.Namespace, tasks: dict[str, SplitTask], loaded: LoadedModel
) -> Iterator[Prompt]:
    """The prompts of all tasks, or of a file's questions, in order."""
    from training.data import encode_prompt
    from training.problems import encode_problem

    for name, task in tasks.items():
        lengths = args.gen_length or task.gen_length, args.block_length or task.block_length
        for problem in task.problems():
            yield Prompt(name, problem.doc_id, problem.question, encode_problem(problem, loaded), *lengths)
    if not args.questions:
        return
    lengths = args.gen_length or 256, args.block_length or 32
    for number, (place, record) in enumerate(read_records(args.questions)):
        if args.limit is not None and number >= args.limit:
            return
        question = record.get("question")
        if not isinstance(question, str) or not question:
            raise UserError(f"{place}: question is missing or empty")
        yield Prompt(
            args.questions, number, question, encode_prompt(question, loaded.need_tokenizer()), *lengths
        )


def decode_all(
    prompts: list[Prompt],
    loaded: LoadedModel,
    strategy: Strategy,
    args: argparse.Namespace,
    done: dict[tuple[str, int], dict[str, Any]],
) -> None:
    """Decode the prompts, tasks of like lengths together; every finished one is on disk at once."""
    from harness.decoding import decode
    from harness.prepare import prepare
    from training.problems import response_text

    with (args.output / DECODED).open("a", encoding="utf-8") as file:
        for lengths in sorted({(prompt.gen_length, prompt.block_length) for prompt in prompts}):
            batch = [prompt for prompt in prompts if (prompt.gen_length, prompt.block_length) == lengths]

            def keep(index: int, generation: Generation, batch: list[Prompt] = batch) -> None:
                prompt = batch[index]
                record = {
                    "task": prompt.task,
                    "doc_id": prompt.doc_id,
                    "question": prompt.question,
                    "response": response_text(generation, loaded),
                    "prompt_ids": prompt.ids,
                    "response_ids": generation.output_ids,
                    "commit_step": generation.commit_step,
                    "nfe": generation.nfe,
                }
                done[prompt.key] = record
                file.write(f"{json.dumps(record)}\n")
                file.flush()
                if len(done) % 100 == 0:
                    print(f"{len(done)} responses", file=sys.stderr)

            sizes = {"gen_length": lengths[0], "block_length": lengths[1], "batch_size": args.batch_size}
            decode(
                loaded,
                [prompt.ids for prompt in batch],
                prepare(strategy, loaded, *lengths),
                on_finish=keep,
                **sizes,
            )


def only_correct(records: list[dict[str, Any]], tasks: dict[str, SplitTask]) -> list[dict[str, Any]]:
    """The records that their tasks' scorers accept, in the same order; how many of each is printed."""
    kept = []
    for name, task in tasks.items():
        own = [record for record in records if record["task"] == name]
        scores = task.score_many([(record["doc_id"], record["response"]) for record in own])
        right = [record for record, score in zip(own, scores, strict=True) if score.correct]
        print(f"{name}: {len(right)} of {len(own)} responses are correct")
        kept += right
    return kept
