"""`python -m training COMMAND`: what makes the weights, one subcommand a module."""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Sequence

from harness.cli import Parser
from harness.errors import UserError, mendable

COMMANDS = {
    "pretrain": ("training.pretrain", "train the embedded demo model from scratch"),
    "trajectories": ("training.trajectories", "let a teacher decode prompts and keep its responses"),
    "distill": ("training.distill", "train a LoRA adapter for parallel decoding (dParallel, consistency)"),
    "filter": ("training.filter", "train Learn2PD's filter for a model"),
    "merge": ("training.merge", "merge an adapter into its base weights"),
}


def parser_for(command: str | None) -> argparse.ArgumentParser:
    """The parser; only the named command's module is imported, the others are listed by their summaries."""
    parser = Parser(prog="python -m training", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, (module, summary) in COMMANDS.items():
        if name == command:
            importlib.import_module(module).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit status; 2 for a mistake the user can mend."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in arguments if not word.startswith("-")), None)
    try:
        args = parser_for(command).parse_args(arguments)
        args.typed = f"python -m training {shlex.join(arguments)}"  # for the cards
        return args.handler(args) or 0
    except (UserError, ValueError) as error:
        # The specs' and records' errors are ValueErrors of packages that do not know the harness.
        if isinstance(error, UserError) or type(error).__module__ in ("strategies.errors", "results.errors"):
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        raise
    except OSError as error:
        line = mendable(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
