"""Check the tests by mutation: put one fault at a time into a copy of the code and see the tests fail.

    python tests/mutation/run.py [--only TEXT] [--timeout SECONDS]

Prints a line a fault: killed (a test failed), timed out (as good) or SURVIVED. Exit status 1 where one
survived, 2 where a fault no longer fits the code. Takes tens of minutes on one core, so it is no part
of the default run; test_mutations.py, which is, checks that every fault still fits.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch  # noqa: F401  imported once, for all the forks
from mutations import MUTATIONS

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("harness", "strategies", "tests", "pyproject.toml")
TESTS = (  # the quickest to fail first
    "tests/strategies",
    "tests/harness/models/test_kv.py",
    "tests/harness/models/test_packing.py",
    "tests/harness/models/test_joining.py",
    "tests/harness/decoding/test_restatement.py",
    "tests/harness/decoding/test_sampling.py",
    "tests/harness/decoding/test_region.py",
    "tests/harness/decoding/test_loop.py",
    "tests/harness/decoding/test_lanes.py",
    "tests/harness/models/test_transformer.py",
    "tests/harness/decoding/test_invariance.py",
    "tests/harness/decoding/test_golden.py",
)


def copy_of_the_code(folder: Path) -> Path:
    """The packages and tests under `folder`/main, with the shared data beside them where it exists."""
    target = folder / "main"
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
    shared = ROOT.parent / "shared"
    if shared.is_dir():
        (folder / "shared").symlink_to(shared)
    return target


def run_tests(target: Path, report: Path) -> None:
    """Run the tests of `target` in this process, a fork that has not imported the packages yet."""
    os.chdir(target)
    sys.path.insert(0, str(target))
    sys.dont_write_bytecode = True
    with report.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "--timeout", "0"]
    os._exit(int(pytest.main([*options, *TESTS])))


def outcome(target: Path, timeout: float) -> tuple[str, str]:
    """What the tests say of the code in `target`, and the first test that failed."""
    report = target.parent / "report.txt"
    child = multiprocessing.get_context("fork").Process(target=run_tests, args=(target, report))
    child.start()
    child.join(timeout)
    if child.is_alive():
        child.kill()
        child.join()
        return "timed out", ""
    lines = report.read_text().splitlines()
    first = next((line for line in lines if line.startswith(("FAILED", "ERROR"))), "")
    return ("SURVIVED" if child.exitcode == 0 else "killed"), first.partition(" - ")[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run the faults whose name contains this text")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds a fault")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        target = copy_of_the_code(Path(folder))
        for name, file, text, replacement in MUTATIONS:
            if options.only not in name:
                continue
            sound = (target / file).read_text()
            if sound.count(text) != 1:
                print(f"{name}: {file} holds its text {sound.count(text)} times, not once", file=sys.stderr)
                return 2
            began = time.monotonic()
            (target / file).write_text(sound.replace(text, replacement))
            result, first = outcome(target, options.timeout)
            (target / file).write_text(sound)
            results.append(result)
            print(f"{result:9}  {time.monotonic() - began:5.0f} s  {name}  {first}", flush=True)
    survived = results.count("SURVIVED")
    print(f"{len(results) - survived} of {len(results)} faults are noticed")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
