"""Runs the regression gate's fixed small set on the demo model: on the CPU, in float32, greedily."""

from __future__ import annotations

import hashlib
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from harness.environment import cpu_model
from harness.errors import UserError
from harness.models.catalog import locate
from harness.run_config import DEMO_TASKS, RunConfig
from harness.runner import run
from results import regress

BASELINE = Path(regress.__file__).parent / "baselines" / "demo.json"
# What `--update` records; afterwards the baseline itself says what is run again.
DEFAULT_SET: dict[str, Any] = {
    "model": "demo",
    "strategies": "all",
    "tasks": list(DEMO_TASKS),
    "limit": 4,
    "batch_size": 4,
}
THREADS = 1  # matrix products are split by the number of threads, and rounding with them


def measure(settings: Mapping[str, Any], *, allow_unsandboxed_code: bool = False) -> dict[str, Any]:
    """Decode and score the set, and return it as a document of `results.regress`.

    Args:
        settings: model, strategies (`all` or a list of specs), tasks, limit (problems a task), batch_size.

    Raises:
        UserError: the run was stopped, or whatever else `run` raises it for.
        ResultsError: a sample failed.
    """
    missing = [name for name in DEFAULT_SET if name not in settings]
    if missing:
        raise UserError(f"the baseline's settings lack {', '.join(missing)}; `regress --update` rewrites it")
    for name, default in DEFAULT_SET.items():
        allowed = (str, list) if name == "strategies" else type(default)
        if not isinstance(settings[name], allowed):
            raise UserError(
                f"the baseline's {name} cannot be {settings[name]!r}; `regress --update` rewrites it"
            )
    chosen = settings["strategies"]
    with _threads(THREADS), tempfile.TemporaryDirectory(prefix="regress-") as directory:
        config = RunConfig(
            strategies=chosen if isinstance(chosen, str) else ",".join(chosen),
            model=settings["model"],
            tasks=tuple(settings["tasks"]),
            limit=settings["limit"],
            batch_size=settings["batch_size"],
            output=Path(directory) / "run",
            device="cpu",
            dtype="float32",
            allow_unsandboxed_code=allow_unsandboxed_code,
        )
        outcome = run(config, outputs=False)
    if outcome.stopped is not None:
        raise UserError(f"stopped by {outcome.stopped} before the set was done; nothing was compared")
    run_specs = list(dict.fromkeys(record.strategy for record in outcome.records))
    return regress.document(
        outcome.records, {**settings, "strategies": run_specs}, platform_of(), _hash(settings["model"])
    )


def platform_of() -> dict[str, Any]:
    """What exact counts depend on beside the code: processor, its vector kernels, torch and its threads."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "threads": THREADS,
    }


def _hash(model: str) -> str:
    """One hash over the model's weights, adapters and filter."""
    digest = hashlib.sha256()
    for path in sorted(locate(model).rglob("*.safetensors")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
