"""`python -m harness bench`: step cost, throughput, the machine's floor and the naive yardstick."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError

if TYPE_CHECKING:
    from harness.bench.workload import Workload
    from harness.models.loading import LoadedModel
    from strategies import Strategy

HELP = "measure step cost, throughput and the machine's floor"
GEN_LENGTH, DEMO_GEN_LENGTH, BLOCK_LENGTH = 256, 128, 32


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the command's options."""
    parser = subparsers.add_parser("bench", help=HELP, description=HELP)
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--model", default="demo", help="name from `list models`, hub id or directory")
    weights.add_argument("--shape", help="random weights of a released shape: llada-8b, dream-7b or demo")
    parser.add_argument("--layers", type=int, help="with --shape: build only that many layers")
    parser.add_argument("--strategies", default="confidence", help="specs separated by commas, or all")
    parser.add_argument("--batch-sizes", default="1,16", help="rows decoded together, separated by commas")
    parser.add_argument("--prompts", type=int, default=16, help="samples decoded")
    parser.add_argument("--prompt-lengths", default="40-160", help="tokens of synthetic prompts, LOW-HIGH")
    parser.add_argument("--task", help="decode this task's problems in place of synthetic prompts")
    parser.add_argument(
        "--data", type=Path, help="take prompt lengths from this JSONL file; with --task, its directory"
    )
    parser.add_argument("--gen-length", type=int, help="tokens to generate (default: 128 for demo, else 256)")
    parser.add_argument("--block-length", type=int, help="semi-autoregressive block (default: 32)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements a median is taken of")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time of this process, for one thread on a machine that others use too; steps are"
        " then timed in one lane",
    )
    parser.add_argument("--threads", type=int, help="threads of one operation on a CPU")
    parser.add_argument("--seed", type=int, default=0, help="of prompts and random weights")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--only",
        choices=("steps", "throughput", "linearity", "memory"),
        help="measure this alone (default: steps and throughput)",
    )
    parser.add_argument(
        "--naive", action="store_true", help="also time a one-sample loop; exit 1 unless it decodes the same"
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, and one JSON line last."""
    import torch

    from harness.bench import roofline
    from harness.bench.clock import choose_clock
    from harness.bench.run import Bench
    from harness.bench.throughput import Gauge
    from harness.environment import describe
    from harness.models.loading import pick_device

    batch_sizes, strategies = checked(args)
    choose_clock(args.clock)
    if args.threads:
        torch.set_num_threads(args.threads)
    place = pick_device(args.device)
    if args.clock == "cpu" and place.type != "cpu":
        raise UserError("--clock cpu measures this process, not a GPU; give --device cpu with it")
    gauge = Gauge(place)
    workload = build(args, strategies[0].adapter)
    rates = partial(roofline.measure, workload.loaded.config, workload.model.dtype, workload.model.device)
    floor = rates()
    bench = Bench(
        workload,
        [workload.prepared(strategy) for strategy in strategies],
        batch_sizes,
        args.repeats,
        rates,
        lambda text: print(text + "\n", flush=True),
    )
    same = True
    if args.only in (None, "steps"):
        bench.steps()
    if args.only in (None, "throughput"):
        same = bench.throughputs(args.naive)
    if args.only == "linearity":
        bench.linearity()
    if args.only == "memory":
        bench.memory(gauge)
    head = {
        "model": workload.loaded.name,
        "clock": args.clock,
        "dtype": workload.loaded.dtype,
        "gen_length": workload.gen_length,
        "block_length": workload.block_length,
        "prompt_tokens": [len(prompt) for prompt in workload.prompts],
        "flops_per_s": floor.flops,
        "bytes_per_s": floor.bandwidth,
    }
    print(json.dumps(head | bench.found | {"environment": describe(workload.loaded.device)}))
    return 0 if same else 1


def checked(args: argparse.Namespace) -> tuple[list[int], list[Strategy]]:
    """Batch sizes and strategies. Raises UserError for options that no bench can follow together."""
    from harness.bench.run import check_naive
    from strategies import resolve

    batch_sizes = numbers(args.batch_sizes, "--batch-sizes")
    if min(*batch_sizes, args.repeats, args.prompts, args.threads or 1) < 1:
        raise UserError("--batch-sizes, --repeats, --prompts and --threads must be at least 1")
    strategies = resolve(args.strategies)
    if args.naive:
        if args.only not in (None, "throughput"):
            raise UserError(f"--naive is about throughput, --only {args.only} is not; leave out either")
        check_naive(strategies)
    if len({strategy.adapter for strategy in strategies}) > 1:
        raise UserError("a bench has one set of weights; give strategies of one adapter at a time")
    return batch_sizes, strategies


def build(args: argparse.Namespace, adapter: str | None) -> Workload:
    """The model and the prompts that the options name."""
    from harness.bench.workload import Workload, drawn_lengths, file_lengths, synthetic, task_prompts
    from harness.models.loading import load_model
    from harness.models.random_weights import random_model

    if args.shape:
        if adapter:
            raise UserError(f"random weights have no adapter {adapter!r}; bench it with --model")
        loaded = random_model(
            args.shape, dtype=args.dtype, device=args.device, seed=args.seed, layers=args.layers
        )
    elif args.layers:
        raise UserError("--layers builds random weights; give --shape with it")
    else:
        loaded = load_model(args.model, dtype=args.dtype, device=args.device, adapter=adapter)
    small = "demo" in (args.shape, args.model if not args.shape else None)
    gen_length = args.gen_length or (DEMO_GEN_LENGTH if small else GEN_LENGTH)
    block_length = args.block_length or min(BLOCK_LENGTH, gen_length)
    if args.task:
        prompts = task_prompts(args.task, args.prompts, loaded, args.data)
    elif args.data:
        prompts = synthetic(file_lengths(args.data, args.prompts, loaded), loaded, args.seed)
    else:
        low, _, high = args.prompt_lengths.partition("-")
        bounds = numbers(f"{low},{high or low}", "--prompt-lengths")
        if not 1 <= bounds[0] <= bounds[1]:
            raise UserError(f"--prompt-lengths {args.prompt_lengths!r} is not LOW-HIGH, 40-160 for example")
        prompts = synthetic(drawn_lengths((bounds[0], bounds[1]), args.prompts, args.seed), loaded, args.seed)
    check(loaded, prompts, gen_length)
    return Workload(loaded, prompts, gen_length, block_length)


def check(loaded: LoadedModel, prompts: list[list[int]], gen_length: int) -> None:
    """Raise UserError for a prompt that does not fit."""
    longest, limit = max(map(len, prompts)) + gen_length, loaded.config.max_length
    if longest > limit:
        raise UserError(
            f"prompt and generation have up to {longest} tokens, the model's context {limit};"
            " lower --prompt-lengths or --gen-length"
        )


def numbers(text: str, option: str) -> list[int]:
    """Whole numbers separated by commas. Raises UserError."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"{option} {text!r}: give whole numbers") from error
