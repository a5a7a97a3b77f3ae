"""The command line: one subcommand a module of harness.commands, every user error on one line."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from harness.errors import UserError, mendable
from results.errors import ResultsError
from strategies.errors import PartError, SpecError
from strategies.plugins import blamed

COMMANDS = {
    "run": "decode suites under strategies, score them, draw the trade-off",
    "generate": "decode prompts of a file with one strategy",
    "score": "judge stored responses of a task without a model",
    "list": "name the strategies, tasks, models or protocols",
    "report": "rebuild tables, plots and the HTML report of finished runs",
    "compare": "say what changed between two runs",
    "regress": "hold a fixed small set on the demo model against the baseline",
    "bench": "measure step cost, throughput and the machine's floor",
    "lm-eval": "run lm-eval's own tasks with --model dllm",
}
DONE, GATE_FAILED, USER_MISTAKE, SOME_FAILED = 0, 1, 2, 3


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are UserErrors, one line each."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UserError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Returns 0 done, 1 a gate failed, 2 the user's mistake or a plug-in's, 3 samples failed, or interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except (UserError, SpecError, PartError, ResultsError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_MISTAKE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return SOME_FAILED
    except Exception as error:
        line = blamed(error) or (mendable(error) if isinstance(error, OSError) else None)
        if line is None:
            raise
        print(f"error: {' '.join(line.split())}", file=sys.stderr)
        return USER_MISTAKE


def _dispatch(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m harness",
        description="Parallel decoding strategies for diffusion language models, compared fairly.",
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    named = next((word for word in arguments if not word.startswith("-")), None)
    for name, about in COMMANDS.items():
        if name == named:  # the others' imports are slow (torch, lm-eval, matplotlib) and not needed
            importlib.import_module(f"harness.commands.{name.replace('-', '_')}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=about)
    if not arguments:
        parser.print_help()
        return USER_MISTAKE
    args = parser.parse_args(arguments)
    if args.command is None:
        raise UserError(f"no command given; one of {', '.join(COMMANDS)}")
    return args.handler(args)
