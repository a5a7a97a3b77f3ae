"""`python -m harness generate`: decode the prompts of a JSONL file with one strategy."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "decode prompts of a file with one strategy"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the command's options."""
    parser = subparsers.add_parser("generate", help=HELP, description=HELP)
    parser.add_argument("--model", default="demo", help="name from `list models`, hub id or directory")
    parser.add_argument("--strategy", required=True, help="strategy spec, for example confidence+dual-cache")
    parser.add_argument(
        "--input", type=Path, required=True, help='lines {"id", "prompt"} or {"id", "prompt_ids"}'
    )
    parser.add_argument("--output", type=Path, required=True, help="JSONL file to write")
    parser.add_argument("--gen-length", type=int, help="tokens to generate (default: 128 for demo, else 256)")
    parser.add_argument("--block-length", type=int, help="semi-autoregressive block (default: 32)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument(
        "--seed", type=int, default=0, help="sample i draws from seed + i where anything is random"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="rows decoded together")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--raw", action="store_true", help="do not wrap text prompts in the chat template")
    parser.add_argument("--trace", action="store_true", help="add what every forward committed")
    parser.add_argument(
        "--plugin", action="append", default=[], help="Python file that registers strategy parts"
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Decode and write one line a prompt, in the input's order."""
    from harness.generate import Request, generate

    generate(
        Request(
            model=args.model,
            strategy=args.strategy,
            source=args.input,
            target=args.output,
            gen_length=args.gen_length,
            block_length=args.block_length,
            temperature=args.temperature,
            seed=args.seed,
            batch_size=args.batch_size,
            dtype=args.dtype,
            device=args.device,
            raw=args.raw,
            trace=args.trace,
            plugins=tuple(args.plugin),
        )
    )
    return 0
