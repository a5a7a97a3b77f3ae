"""Hostile programs: none survives, none passes, and the batch goes on."""

from pathlib import Path

import pytest

from harness import sandbox
from harness.errors import UserError
from harness.sandbox import Program, run_programs
from harness.sandbox_backends import BACKENDS, UNCONFINED
from tests.harness.forgeries import FORGERIES
from tests.harness.forgeries import TESTS as HARDER
from tests.harness.hostile_programs import GOOD, HOSTILE, MARK, TESTS, WRONG

LATENESS_S = 10  # what a busy machine may take to start and to stop a program


@pytest.fixture(scope="module")
def isolated():
    """Skips where this machine has no sandbox; what happens then is tested below."""
    if sandbox.available_backend() is None:
        pytest.skip("this machine offers neither bubblewrap nor Linux namespaces")


@pytest.fixture(scope="module")
def batch(isolated, tmp_path_factory):
    """The verdicts of all hostile programs and of a harmless one after them, in one batch."""
    folder = tmp_path_factory.mktemp("outside")
    witness = folder / "witness"
    witness.write_text("here")
    repository = Path(sandbox.__file__).parents[1]
    places = {
        "HOME": Path.home(),
        "FOLDER": folder,
        "WITNESS": witness,
        "REPOSITORY": repository,
        "MARK": MARK,
    }
    programs = []
    for source in HOSTILE.values():
        for name, value in places.items():
            source = source.replace(name, str(value))
        programs.append(Program(source, TESTS, frozenset({"f"})))
    programs.append(Program(GOOD, TESTS))
    *verdicts, last = run_programs(programs, workers=4, timeout_s=1, memory_mb=512)
    return dict(zip(HOSTILE, verdicts, strict=True)), last, witness


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_program_passes_or_outstays_its_time(batch, name):
    verdict = batch[0][name]
    assert not verdict.passed
    assert verdict.error
    assert verdict.seconds < sandbox.WALL_FACTOR + sandbox.WALL_EXTRA_S + LATENESS_S


@pytest.mark.parametrize("tests", [TESTS, HARDER], ids=["equality", "closeness"])
def test_no_forgery_passes(isolated, tests):
    programs = [Program(source, tests, frozenset({"f"})) for source in (*FORGERIES.values(), GOOD)]
    *verdicts, last = run_programs(programs, workers=4, timeout_s=2, memory_mb=512)
    assert [n for n, v in zip(FORGERIES, verdicts, strict=True) if v.passed or not v.error] == []
    assert last.error is None


def test_the_batch_goes_on(batch):
    assert batch[1].error is None


def test_nothing_outside_is_touched(batch):
    assert batch[2].read_text() == "here"
    assert not (Path.home() / "written").exists()
    assert not Path("/usr/written").exists()


def test_nothing_survives(batch):
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(process.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    assert not any(MARK in line for line in lines)


@pytest.mark.parametrize(
    "backend", BACKENDS, ids=lambda b: f"{b.name}-{'user' if b.user_namespace else 'root'}"
)
def test_every_backend_that_runs_here_confines(backend, tmp_path):
    (tmp_path / "secret").write_text("x")
    if not backend.present() or not sandbox.run_one(Program("", "assert True"), backend, 1, 512).passed:
        pytest.skip("this way to isolate does not work on this machine")
    inside = f"""
import heapq, os, socket, typing
open('scratch', 'w').write('fine')
for path in ({str(tmp_path / "secret")!r}, '/etc/passwd'):
    assert not os.path.exists(path), path
for path in ({str(Path.home() / "x")!r}, '/usr/x', '/x', '/dev/x', '/tmp/x'):
    try:
        open(path, 'w')
    except OSError:
        continue
    raise AssertionError(path)
try:
    socket.create_connection(('1.1.1.1', 53), timeout=1)
except OSError:
    pass
else:
    raise AssertionError('network')
assert open('/dev/null').read() == ''
assert len(os.listdir('.')) == 1
"""
    verdict = sandbox.run_one(Program("", inside), backend, 2, 512)
    assert verdict.error is None


def test_programs_with_threads_installed_packages_and_files_run(isolated):
    program = (
        "import tempfile, threading, numpy\n"
        "def f(x):\n"
        "    out = []\n"
        "    thread = threading.Thread(target=lambda: out.append(int(numpy.square(x))))\n"
        "    thread.start()\n    thread.join()\n"
        "    with tempfile.TemporaryFile() as file:\n        file.write(b'fine')\n"
        "    return out[0]"
    )
    (verdict,) = run_programs([Program(program, TESTS)])
    assert verdict.error is None


def test_a_builtins_name_reaches_the_tests_only_where_it_is_asked_for(isolated):
    shadow = "def sum(a, b):\n    return a + b\n"
    programs = [
        Program(shadow, "assert sum(1, 2) == 3", frozenset({"sum"})),
        Program(shadow, "assert sum([1, 2]) == 3"),
    ]
    assert [v.error for v in run_programs(programs)] == [None, None]


def test_reasons_are_named(isolated):
    programs = [
        "while True: pass",
        "1 / 0",
        "import os\nos._exit(3)",
        "x = (",
        "import ctypes\nctypes.string_at(0)",
    ]
    errors = [v.error for v in run_programs([Program(p, "pass") for p in programs], timeout_s=1)]
    assert errors[0] in ("out of time", "out of CPU time", "killed: out of CPU time or memory")
    assert errors[1] == "ZeroDivisionError: division by zero"
    assert errors[2] == "it ended before its tests did"
    assert errors[3].startswith("SyntaxError")
    assert errors[4] == "it crashed the interpreter"


def test_tests_that_test_nothing_do_not_pass(isolated):
    (verdict,) = run_programs([Program(GOOD, "# nothing")])
    assert not verdict.passed


def test_without_isolation_code_is_refused_in_one_line_or_run_when_told(monkeypatch):
    monkeypatch.setattr(sandbox, "available_backend", lambda: None)
    with pytest.raises(UserError, match="--allow-unsandboxed-code") as refusal:
        list(run_programs([Program(GOOD, TESTS)]))
    assert "\n" not in str(refusal.value)
    programs = [Program(p, TESTS) for p in (GOOD, WRONG, "import os\nos._exit(0)", "while True: pass")]
    verdicts = list(run_programs(programs, timeout_s=1, allow_unsandboxed=True))
    assert [v.passed for v in verdicts] == [True, False, False, False]
    assert UNCONFINED.request("folder", 1)["uid"] is None


def test_order_and_parallelism(isolated):
    programs = [Program(f"x = {n}", f"assert x % 3, {n}") for n in range(6)]
    errors = [v.error for v in run_programs(programs, workers=3)]
    assert errors == ["AssertionError: 0", None, None, "AssertionError: 3", None, None]
