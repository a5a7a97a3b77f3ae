"""`python -m harness run`: decode suites under strategies, score them, draw the trade-off."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness.errors import UserError

HELP = "decode suites under strategies, score them, draw the trade-off"
EPILOG = (
    "Running again with the same --output continues: finished samples are not decoded twice. Exit status: 0"
    " done, 2 a mistake in the request, 3 samples failed or the run was stopped (the same command continues)."
)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the command's options; None where --config or the default decides."""
    parser = subparsers.add_parser("run", help=HELP, description=HELP, epilog=EPILOG)
    add = parser.add_argument
    add("--strategies", metavar="all|SPEC,...", help="strategy specs, see `list strategies` (default: all)")
    add("--model", help="name from `list models`, hub id or directory (default: demo)")
    add("--tasks", type=_names, metavar="T,...", help="names from `list tasks` (default: the demo suites)")
    add(
        "--limit",
        type=_limit,
        metavar="N",
        help="problems a task, or all (default: all, the first few of a demo suite)",
    )
    add("--output", type=Path, metavar="DIR", help="default: runs/MODEL-DATE-TIME")
    add("--gen-length", type=int, metavar="N", help="tokens to generate (default: the protocol's)")
    add("--block-length", type=int, metavar="N", help="semi-autoregressive block (default: the protocol's)")
    add("--batch-size", type=int, metavar="N", help="rows decoded together")
    add("--device", help="auto, cpu, cuda or cuda:N")
    add("--dtype", help="auto, bfloat16, float16, float32 or float64")
    add("--data", type=Path, metavar="DIR", help="read the benchmarks from files here, not from the hub")
    add("--protocol", help="a name from `list protocols` (default: the task's own)")
    add("--trace", action="store_true", default=None, help="write what every forward committed")
    add("--seed", type=int, help="problem i draws from seed + i where anything is random (default: 0)")
    add("--temperature", type=float, help="0 is greedy (default: 0)")
    add("--config", type=Path, metavar="FILE.yaml", help="options by their long names; flags override them")
    add("--plugin", action="append", metavar="FILE.py", help="file that registers strategy parts")
    add("--sweep", action="append", metavar="SPEC", help="for example confidence:threshold=0.5..0.95/6")
    add("--tune-fraction", type=float, metavar="F", help="share of the problems that picks a sweep's setting")
    add("--option", action="append", metavar="NAME", help="a task option, as in `score`")
    add(
        "--allow-unsandboxed-code",
        action="store_true",
        default=None,
        help="run model-written code unprotected where this machine offers no isolation",
    )
    parser.set_defaults(handler=run)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _limit(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def run(args: argparse.Namespace) -> int:
    """Run, print the table, and last one line of JSON."""
    from harness.run_config import combine
    from harness.runner import run as run_all
    from harness.runner_report import report

    options: dict[str, Any] = vars(args).copy()
    for name in ("command", "handler", "config"):
        options.pop(name, None)
    for name in ("plugin", "sweep", "option"):
        options[name] = None if options[name] is None else tuple(options[name])
    config = combine(options, args.config)
    if config.output is not None and config.output.is_file():
        raise UserError(f"--output {config.output} is a file; name a directory")
    outcome = run_all(config)
    print(json.dumps(report(outcome)), flush=True)
    return 0 if outcome.stopped is None and not outcome.failed else 3
