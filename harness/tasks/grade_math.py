"""The MATH grader: lm-eval's own, in worker processes that can be stopped, for sympy may never return."""

from __future__ import annotations

import atexit
import functools
import json
import os
import queue
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.errors import UserError

ROOT = Path(__file__).parents[2]
# Of CPU time. lm-eval's own limits are 5 s for each of its comparisons; this one catches what escapes them.
TIMEOUT_S = 60.0
PATIENCE = 10  # how many times as long it may take on a busy machine
ATTEMPTS = 2  # a worker may have been killed for something else
START_S = 300.0  # a busy machine has been seen to take a minute
MEMORY_MB = 4096


class Worker:
    """One grading process, started when first asked and again after it had to be stopped."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self.timeout_s = timeout_s
        self.process: subprocess.Popen[str] | None = None

    def grade(self, doc: dict[str, Any], response: str) -> dict[str, Any]:
        """{"extracted", "metrics"} or {"error"} of one response."""
        request = json.dumps({"doc": doc, "response": response}) + "\n"
        for _ in range(ATTEMPTS):
            try:
                return json.loads(self._ask(request))
            except TimeoutError as error:
                self.close()
                return {"error": f"the grader was stopped: {error}"}
            except (OSError, ValueError):  # the process is gone, or went in the middle of its answer
                self.close()
        return {"error": "the grader died of this response"}

    def _ask(self, request: str) -> str:
        if self.process is None or self.process.poll() is not None:
            self._start()
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(request)
        self.process.stdin.flush()
        return self._line(self.timeout_s)

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    with suppress(OSError):  # what was not yet sent has nowhere to go
                        stream.close()
            self.process = None

    def _start(self) -> None:
        self.close()
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.tasks.grade_math_worker", str(MEMORY_MB)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        try:
            said = self._line(START_S).strip()
        except TimeoutError:
            said = ""
        if said != "ready":
            raise UserError("the MATH grader does not start; install it with: pip install 'lm-eval[math]'")

    def _line(self, timeout_s: float) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        # Every answer is one short line written at once, so a readable pipe holds the whole of it.
        before = cpu_seconds(self.process.pid)
        for _ in range(PATIENCE):
            ready, _, _ = select.select([self.process.stdout], [], [], timeout_s)
            if ready:
                return self.process.stdout.readline()
            if cpu_seconds(self.process.pid) - before >= timeout_s:
                break
        raise TimeoutError(f"no verdict within {timeout_s:g} s")


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used; 0 where this system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class MathGrader:
    """Grades many responses on several workers, in order."""

    def __init__(self, workers: int | None = None) -> None:
        self.size = workers or len(os.sched_getaffinity(0))
        self.idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self.started: list[Worker] = []
        self.lock = threading.Lock()

    def grade_many(self, items: list[tuple[dict[str, Any], str]]) -> Iterator[dict[str, Any]]:
        """The verdicts of (doc, response) pairs, in their order."""
        from concurrent.futures import ThreadPoolExecutor

        # A worker takes seconds to start: a handful of responses is graded by one.
        threads = min(self.size, 1 + len(items) // 16)
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(lambda item: self._grade(*item), items)

    def _grade(self, doc: dict[str, Any], response: str) -> dict[str, Any]:
        try:
            worker = self.idle.get_nowait()
        except queue.Empty:
            worker = Worker()
            with self.lock:
                self.started.append(worker)
        try:
            return worker.grade(doc, response)
        finally:
            self.idle.put(worker)

    def close(self) -> None:
        """Ends every worker."""
        for worker in self.started:
            worker.close()


@functools.cache
def shared_grader() -> MathGrader:
    """The grader of all tasks: its workers take seconds to start and end with this process."""
    grader = MathGrader()
    atexit.register(grader.close)
    return grader
