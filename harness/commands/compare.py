"""`compare RUN_A RUN_B`: what changed, with intervals; exit code 1 beyond the limits of --fail-on."""

from __future__ import annotations

import argparse
import sys


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("compare", help="say what changed between two runs")
    parser.add_argument("run_a", metavar="RUN_A", help="the run to compare with")
    parser.add_argument("run_b", metavar="RUN_B", help="the run that may have changed")
    parser.add_argument(
        "--fail-on",
        default="",
        metavar="LIMITS",
        help="exit 1 where run B is worse by more: accuracy=0.03 (of 1), nfe=0.05, tpf=, tps= (of run A's),"
        " or failed on problems that run A decoded",
    )
    parser.add_argument(
        "--force", action="store_true", help="compare runs of different settings all the same"
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from results import compare
    from results.runs import load_run, setting_differences
    from results.table import console

    limits = compare.parse_limits(args.fail_on)
    a, b = load_run(args.run_a), load_run(args.run_b)
    table = compare.compare_runs(a, b, force=args.force)
    out = console()
    for difference in setting_differences(a, b):
        out.print(f"note: {difference}", markup=False)
    out.print(compare.table_of(table, a.name, b.name))
    for one, other in ((a, b), (b, a)):
        for strategy, task in compare.only_in(one, other):
            out.print(f"only in {one.name}: {strategy} on {task}", markup=False)
    failed = compare.newly_failed(a, b)
    for sentence in failed:
        out.print(f"note: {sentence}", markup=False)
    broken = [*(failed if limits else []), *compare.broken_limits(table, limits)]
    for sentence in broken:
        print(f"beyond the limit: {sentence}", file=sys.stderr)
    return 1 if broken else 0
