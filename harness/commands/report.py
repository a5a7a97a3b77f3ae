"""`report`: rebuild the tables, figures and HTML page of one run, or of several merged."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.errors import UserError


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "report", help="rebuild tables, plots and the HTML report of finished runs"
    )
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="directories that `run` wrote")
    parser.add_argument(
        "--output", metavar="DIR", help="where to write (default: the run itself; several runs: ./report)"
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from results import outputs, table
    from results.findings import find, notes
    from results.merge import merge_runs
    from results.runs import load_run

    target = args.output or (args.runs[0] if len(args.runs) == 1 else "report")
    findings = find(merge_runs([load_run(each) for each in args.runs]))
    try:
        paths = outputs.write_findings(findings, Path(target))
    except OSError as error:
        raise UserError(f"cannot write {error.filename or target}: {error.strerror}") from error
    table.print_summary(findings.summary, findings.comparisons, notes=notes(findings))
    print(f"report: {paths['report']}\nplot:   {paths['tradeoff']}")
    return 0
