"""Runs untrusted programs against their tests, several at a time, each in a sandbox of its own."""

from __future__ import annotations

import contextlib
import functools
import itertools
import marshal
import math
import os
import secrets
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.sandbox_backends import BACKENDS, UNCONFINED, Backend
from harness.sandbox_child import FAILED, NONCE_BYTES, PASSED, REASON_CHARS, SIGNALLED
from harness.sandbox_remote import PREFIX_BYTES

# The hub's code_eval, which lm-eval uses, gives a program 3 seconds; the reference solution of MBPP's
# task 123 needs nearly as many on a slow processor.
CPU_S = 8.0
WALL_FACTOR = 3
WALL_ROUNDS = 5  # of them, for a program that is ready to run and gets no processor
WALL_EXTRA_S = 2.0
MEMORY_MB = 1024
FILE_MB = 16
REPLY_BYTES = 1 << 16
GRACE_S = 2.0
STOPPED = {
    number + shell: text
    for shell in (0, SIGNALLED)
    for number, text in (
        (signal.SIGXCPU, "out of CPU time"),
        (signal.SIGKILL, "killed: out of CPU time or memory"),
        (signal.SIGSEGV, "it crashed the interpreter"),
        (signal.SIGABRT, "it crashed the interpreter"),
    )
}
UIDS = itertools.cycle(range(61000, 62000))  # users that no distribution hands out
FLAG = "--allow-unsandboxed-code"


@dataclass(frozen=True)
class Program:
    """Code to run and the tests that follow it.

    `exports` are the names the tests take from the candidate even where they are names of builtins.
    """

    candidate: str
    tests: str
    exports: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """Whether the tests ran to their end, and if not, why; `seconds` is the wall time of the run."""

    passed: bool
    error: str | None
    seconds: float


def run_programs(
    programs: Iterable[Program],
    *,
    workers: int | None = None,
    timeout_s: float = CPU_S,
    memory_mb: int = MEMORY_MB,
    allow_unsandboxed: bool = False,
) -> Iterator[Verdict]:
    """The verdicts of the programs, in order; `workers` run at a time (as many as there are processors).

    `timeout_s` bounds a program's CPU time, and its wall time at a few times as much; `memory_mb` its address
    space. Raises UserError where this machine offers no isolation, unless `allow_unsandboxed`.
    """
    backend = choose_backend(allow_unsandboxed)
    threads = workers or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda program: run_one(program, backend, timeout_s, memory_mb), programs)


def choose_backend(allow_unsandboxed: bool) -> Backend:
    """The best isolation that works here. Raises UserError if there is none and it was not waived."""
    backend = available_backend()
    if backend is not None:
        return backend
    if allow_unsandboxed:
        return UNCONFINED
    raise UserError(
        "this machine offers no isolation for running model-written code (neither bubblewrap nor Linux "
        f"namespaces work); install bubblewrap, or run it unprotected with {FLAG}"
    )


@functools.cache
def available_backend() -> Backend | None:
    """The first backend that runs a program and hides this machine's files from it; None if none does."""
    with tempfile.NamedTemporaryFile() as witness:
        tests = (
            f"import os, typing, decimal, heapq\nassert not os.path.exists({witness.name!r})\n"
            f"assert not os.path.exists({str(Path(__file__).parent)!r})\nopen('probe', 'w').close()"
        )
        for backend in BACKENDS:
            if backend.present() and run_one(Program("", tests), backend, CPU_S, MEMORY_MB).passed:
                return backend
    return None


def run_one(program: Program, backend: Backend, timeout_s: float, memory_mb: int) -> Verdict:
    """Runs one program in a fresh sandbox, which is gone with everything in it when this returns."""
    started = time.monotonic()
    ours, theirs = socket.socketpair()
    nonce = secrets.token_bytes(NONCE_BYTES)
    with ours, tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
        ours.sendall(nonce)
        with theirs:
            command = backend.command(theirs.fileno())
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=folder,
                env=backend.environment(folder),
                start_new_session=True,
            )
        settings = {
            "cpu_s": math.ceil(timeout_s),
            "memory_mb": memory_mb,
            "file_mb": FILE_MB,
            **backend.request(folder, next(UIDS)),
        }
        content = {
            "candidate": program.candidate,
            "tests": program.tests,
            "exports": sorted(program.exports),
        }
        head = marshal.dumps(settings)
        request = len(head).to_bytes(PREFIX_BYTES, "little") + head + marshal.dumps(content)
        reply = FAILED
        try:
            reply = _converse(process, ours, request, WALL_FACTOR * timeout_s + WALL_EXTRA_S)
        finally:
            status = _end(process, ended=not reply)
    seconds = time.monotonic() - started
    if reply == PASSED + nonce[::-1].hex().encode():
        return Verdict(True, None, seconds)
    return Verdict(False, _why(reply, status), seconds)


def _converse(process: subprocess.Popen[bytes], ours: socket.socket, request: bytes, wall_s: float) -> bytes:
    """Sends the request and waits for one line of reply, the process's end or the end of its wall time."""
    assert process.stdin is not None
    try:
        with process.stdin as pipe:
            pipe.write(request)
    except BrokenPipeError:
        return b""
    received, rounds, deadline = b"", 1, time.monotonic() + wall_s
    end = os.pidfd_open(process.pid)
    watched: list[Any] = [ours, end]
    try:
        while b"\n" not in received and len(received) < REPLY_BYTES:
            ready, _, _ = select.select(watched, [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                if rounds == WALL_ROUNDS or not _wants_processor(process.pid):
                    return FAILED + b"out of time"
                rounds, deadline = rounds + 1, deadline + wall_s
                continue
            if ours not in ready:
                break
            try:
                chunk = ours.recv(REPLY_BYTES)
            except ConnectionResetError:  # the program ended with the nonce unread
                break
            if not chunk:
                break
            received += chunk
    finally:
        os.close(end)
    return received.split(b"\n", 1)[0]


def _wants_processor(pid: int) -> bool:
    """Whether a process or one that it started is ready to run: short of processor time and not asleep."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return False
    return state == "R" or any(_wants_processor(int(child)) for child in children)


def _end(process: subprocess.Popen[bytes], ended: bool) -> int | None:
    """Kills the sandbox and returns the status it had ended with, None if it was still running.

    `ended` says that the program is gone, so that its status is worth a moment's wait.
    """
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S if ended else 0)
    status = process.returncode
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return status


def _why(reply: bytes, status: int | None) -> str:
    if reply.startswith(FAILED):
        return reply.removeprefix(FAILED).decode(errors="replace")[:REASON_CHARS]
    if status is not None and abs(status) in STOPPED:
        return STOPPED[abs(status)]
    return "it ended before its tests did"
