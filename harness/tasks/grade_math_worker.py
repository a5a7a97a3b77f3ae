"""The process that grades MATH answers: one JSON line in, one out, by lm-eval's own functions."""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

MEGABYTE = 1 << 20


def grade(doc: dict[str, Any], response: str) -> dict[str, Any]:
    """lm-eval's two metrics of a response and the answer that was read from it."""
    from lm_eval.tasks.minerva_math import utils

    metrics = utils.process_results(doc, [response])
    return {"extracted": answer(response), "metrics": {name: float(value) for name, value in metrics.items()}}


def answer(response: str) -> str | None:
    """The last boxed answer, else that in the examples' sentence, else what math_verify reads, else None."""
    from lm_eval.tasks.minerva_math import utils
    from math_verify import parse

    boxed = utils.last_boxed_only_string(response)
    if boxed is not None and boxed.startswith(("\\boxed{", "\\boxed ")):
        return utils.remove_boxed(boxed)
    named = utils.get_unnormalized_answer(response)
    if named != "[invalidanswer]":
        return named
    parsed = parse(response)
    return str(parsed[-1]) if parsed else None


def main() -> None:
    """Serves until its standard input ends."""
    from lm_eval.tasks.minerva_math import utils  # noqa: F401  # imported before the first answer is awaited

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
