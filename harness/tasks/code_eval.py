"""A local stand-in for the hub's `code_eval`, the executor that lm-eval's code tasks load when imported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from harness.sandbox import Program, run_programs


class CodeEval:
    """pass@1 of candidate programs, each run with its tests in the sandbox; nothing runs until `armed`."""

    def __init__(self) -> None:
        self.armed = False
        self.allow_unsandboxed = False

    def compute(
        self, references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int] = (1,)
    ) -> tuple[dict[str, float], dict[int, list[Any]]]:
        """({"pass@1": share}, details) of the first prediction of each problem, in the hub metric's form."""
        if list(k) != [1]:
            raise ValueError("only pass@1 is computed here")
        if not self.armed:  # lm-eval tries its executor out on import; there is nothing to learn from it
            return {"pass@1": 0.0}, {}
        programs = [Program(p[0], test) for p, test in zip(predictions, references, strict=True)]
        passed = [v.passed for v in run_programs(programs, allow_unsandboxed=self.allow_unsandboxed)]
        details = {index: [(0, {"passed": ok})] for index, ok in enumerate(passed)}
        return {"pass@1": sum(passed) / len(passed)}, details


CODE_EVAL = CodeEval()


@contextmanager
def local_code_eval() -> Iterator[CodeEval]:
    """While it lasts, `evaluate.load("code_eval")` gives the local executor and not the hub's."""
    import evaluate

    original = evaluate.load

    def load(path: str, *args: Any, **kwargs: Any) -> Any:
        return CODE_EVAL if path == "code_eval" else original(path, *args, **kwargs)

    evaluate.load = load
    try:
        yield CODE_EVAL
    finally:
        evaluate.load = original
