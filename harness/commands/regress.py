"""`regress`: hold a fixed small set on the demo model against its baseline; exit code 1 on a regression."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import UserError


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "regress", help="hold a fixed small set on the demo model against the baseline"
    )
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="default: results/baselines/demo.json")
    parser.add_argument("--update", action="store_true", help="write what is measured now as the baseline")
    parser.add_argument(
        "--history",
        type=Path,
        metavar="FILE",
        help="CSV to add this commit to; its trend plot lies beside it",
    )
    parser.add_argument(
        "--allow-unsandboxed-code",
        action="store_true",
        help="run model-written code unprotected where this machine offers no isolation",
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    from harness import regression
    from results import regress

    path = args.baseline or regression.BASELINE
    settings = regression.DEFAULT_SET
    baseline = None
    if not args.update:
        baseline = regress.read(path)
        settings = baseline["settings"]
    start = time.monotonic()
    measured = regression.measure(settings, allow_unsandboxed_code=args.allow_unsandboxed_code)
    seconds = time.monotonic() - start
    if args.history is not None:
        _add_to_history(args.history, measured)
    if baseline is None:
        try:
            regress.write(path, measured)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error
        print(f"wrote {path}: {_size(measured)}, {seconds:.0f} s")
        return 0
    return _judge(baseline, measured, seconds)


def _judge(baseline: dict[str, Any], measured: dict[str, Any], seconds: float) -> int:
    from results import regress
    from results.table import console

    movements = regress.compare(baseline, measured)
    if movements:
        console().print(regress.table_of(movements))
    same = baseline["platform"] == measured["platform"]
    how = "exact counts" if same else f"counts within {100 * regress.TOLERANCE:.0f} % (another platform)"
    failed = sum(each.regression for each in movements)
    print(f"{_size(measured)} in {seconds:.0f} s, {how}: {len(movements)} moved, {failed} regressions")
    if failed:
        print("if the change is meant, record it: python -m harness regress --update")
    return 1 if failed else 0


def _size(document: dict[str, Any]) -> str:
    samples = sum(len(cell["doc_ids"]) for cell in document["cells"])
    return f"{len(document['cells'])} cells of {samples} samples"


def _add_to_history(path: Path, measured: dict[str, Any]) -> None:
    from harness.environment import commit
    from results import history
    from results.plots import trend

    rows = history.rows_of(measured, commit() or "unknown", datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        whole = history.append(path, rows)
        trend.draw(whole, path.with_name(f"{path.stem}_trend"))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
