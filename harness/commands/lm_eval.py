"""`python -m harness lm-eval`: lm-eval's own command, with the model `dllm` and this benchmark's tasks."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import UserError

HELP = "run lm-eval's own tasks with --model dllm"
EPILOG = """\
Everything else is lm-eval's own (try `lm-eval run --help` after it). --model_args for --model dllm:
  pretrained=MODEL,strategy=SPEC[,gen_length=N][,block_length=N][,batch_size=N][,dtype=D][,revision=R]
  [,temperature=T][,seed=S]
A spec is written as always, its commas included: strategy=learn2pd:threshold=0.9,steps=64+eotp,batch_size=8.
Tasks are lm-eval's, the demo suites, and bench-NAME for a task NAME of `list tasks` as `run` asks and
judges it. NFE, TPF and TPS stand in the results beside the metrics, and in every logged sample.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Take every argument as it comes: no prefix makes an option to argparse, so none is read here."""
    parser = subparsers.add_parser("lm-eval", help=HELP, prefix_chars="\0", add_help=False)
    parser.add_argument("arguments", nargs="*")
    parser.set_defaults(handler=lambda args: run(args.arguments))


def run(arguments: list[str]) -> int:
    """Run lm-eval's command line; returns its exit status."""
    own = _own_parser()
    if not arguments or arguments[0] in ("-h", "--help"):
        own.print_help()
        raise SystemExit(0)
    options, rest = own.parse_known_args(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    from harness.tasks.code_eval import local_code_eval
    from strategies.plugins import load_entry_points, load_file

    load_entry_points()
    for plugin in options.plugin:
        load_file(plugin)
    with tempfile.TemporaryDirectory() as folder, local_code_eval() as executor:
        executor.armed, executor.allow_unsandboxed = True, options.allow_unsandboxed_code
        return _evaluate(_rewritten(rest, options, Path(folder)))


def _own_parser() -> argparse.ArgumentParser:
    own = argparse.ArgumentParser(
        prog="python -m harness lm-eval",
        description=HELP,
        epilog=EPILOG,
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own.add_argument("--data", type=Path, help="read the files of bench-NAME tasks here, not from the hub")
    own.add_argument("--protocol", help="the protocol of bench-NAME tasks")
    own.add_argument(
        "--plugin", action="append", default=[], help="Python file that registers strategy parts"
    )
    own.add_argument(
        "--allow-unsandboxed-code", action="store_true", help="run model-written code unprotected"
    )
    return own


def _rewritten(arguments: list[str], options: argparse.Namespace, folder: Path) -> list[str]:
    """The arguments with --model_args as JSON, and this benchmark's tasks as paths of YAML files."""
    from harness.lm import NAME
    from harness.lm_args import parse_model_args
    from harness.lm_tasks import known_tasks, write_definition

    known = known_tasks()

    def as_files(values: list[str]) -> list[str]:
        patterns = [name for value in values for name in value.split(",") if name]
        names = [name for pattern in patterns for name in fnmatch.filter(known, pattern) or [pattern]]
        return [
            str(
                write_definition(
                    folder,
                    name,
                    protocol=options.protocol,
                    data_dir=options.data,
                    allow_unsandboxed=options.allow_unsandboxed_code,
                )
            )
            if name in known
            else name
            for name in names
        ]

    ours = NAME in _values(arguments, ("--model", "-M"))
    arguments = _replace(arguments, ("--tasks", "-t"), as_files)
    if ours:
        arguments = _replace(
            arguments,
            ("--model_args", "-a"),
            lambda values: [json.dumps(parse_model_args(",".join(values)))],
        )
    return arguments


def _values(arguments: list[str], flags: tuple[str, ...]) -> list[str]:
    found: list[str] = []

    def keep(values: list[str]) -> list[str]:
        found.extend(values)
        return values

    _replace(arguments, flags, keep)
    return found


def _replace(
    arguments: list[str], flags: tuple[str, ...], change: Callable[[list[str]], list[str]]
) -> list[str]:
    """The arguments with the values of one option, `--flag A B` or `--flag=A`, changed."""
    result: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if flag not in flags:
            result.append(word)
            continue
        values = [value] if equals else []
        while not equals and rest and not rest[0].startswith("-"):
            values.append(rest.pop(0))
        result += [flag, *change(values)]
    return result


def _evaluate(arguments: list[str]) -> int:
    import lm_eval
    from lm_eval.__main__ import cli_evaluate

    from harness.lm import NAME, add_costs

    simple_evaluate = lm_eval.simple_evaluate

    def with_costs(*args: Any, **kwargs: Any) -> Any:
        results = simple_evaluate(*args, **kwargs)
        return add_costs(results) if results and NAME in results.get("config", {}) else results

    argv = sys.argv
    sys.argv = ["lm-eval", *arguments]
    lm_eval.simple_evaluate = with_costs  # the command looks it up when it runs
    try:
        cli_evaluate()
    except ValueError as error:
        raise _explained(error) from error
    except OSError as error:
        raise UserError(
            f"lm-eval cannot read a file or reach the hub ({' '.join(str(error).split())[:300]}); "
            "without the hub use bench-NAME tasks with --data DIR, or YAML of local data with --include_path"
        ) from error
    finally:
        sys.argv, lm_eval.simple_evaluate = argv, simple_evaluate
    return 0


def _explained(error: ValueError) -> Exception:
    """lm-eval's own complaints about the arguments as one-line errors; anything else as it is."""
    text = " ".join(str(error).split())
    if "Tasks not found" in text:
        return UserError(
            f"{text}; see `python -m harness lm-eval ls tasks` and `python -m harness list tasks`"
        )
    if "marked as unsafe" in text:
        return UserError(f"{text.split(' Set ')[0]} Add --confirm_run_unsafe_code: it runs in the sandbox.")
    return error
