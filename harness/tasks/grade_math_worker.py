"""The process that grades MATH answers: one JSON line in, one out, by lm-eval's own functions."""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import resource
import signal
import sys
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

MEGABYTE = 1 << 20


@functools.cache
def lm_eval_utils() -> ModuleType:
    """The module of lm-eval's minerva_math task, read from its file: its package takes seconds to import."""
    package = importlib.util.find_spec("lm_eval")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "tasks" / "minerva_math" / "utils.py"
    spec = importlib.util.spec_from_file_location("minerva_math_utils", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def grade(doc: dict[str, Any], response: str) -> dict[str, Any]:
    """lm-eval's two metrics of a response and the answer that was read from it."""
    utils = lm_eval_utils()
    metrics = utils.process_results(doc, [response])
    return {"extracted": answer(response), "metrics": {name: float(value) for name, value in metrics.items()}}


def answer(response: str) -> str | None:
    """The last boxed answer, else that in the examples' sentence, else what math_verify reads, else None."""
    from math_verify import parse

    utils = lm_eval_utils()
    boxed = utils.last_boxed_only_string(response)
    if boxed is not None and boxed.startswith(("\\boxed{", "\\boxed ")):
        return utils.remove_boxed(boxed)
    named = utils.get_unnormalized_answer(response)
    if named != "[invalidanswer]":
        return named
    parsed = parse(response)
    return str(parsed[-1]) if parsed else None


def count_alarms_in_processor_time() -> None:
    """Makes `signal.alarm` count the processor's seconds, not the clock's.

    lm-eval and math_verify give up, and so find an answer wrong, after 5 seconds by the clock: on a busy
    machine that turned right answers wrong.
    """

    def ring(number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGALRM)
        if callable(handler):
            handler(signal.SIGALRM, frame)

    signal.signal(signal.SIGPROF, ring)
    signal.alarm = lambda seconds: math.ceil(signal.setitimer(signal.ITIMER_PROF, seconds)[0])


def main() -> None:
    """Serves until its standard input ends."""
    count_alarms_in_processor_time()
    lm_eval_utils()
    channel, sys.stdout = sys.stdout, sys.stderr
    limit = int(sys.argv[1]) * MEGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print("ready", file=channel, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = grade(request["doc"], request["response"])
        except Exception as error:  # whatever sympy or the parsers raise is a verdict, not an end
            reply = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        print(json.dumps(reply), file=channel, flush=True)


if __name__ == "__main__":
    main()
