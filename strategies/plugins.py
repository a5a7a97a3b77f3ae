"""Plug-ins: a researcher's own rule, cache or stop joins by a Python file or an entry point."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path

from strategies.errors import SpecError

ENTRY_POINTS = "dllm_parallel_bench.strategies"


def load_file(path: str | Path) -> None:
    """Run a Python file that calls `strategies.register(...)`; a file that has run already is not run again.

    Raises SpecError where the file is missing, fails, or registers a name that is taken.
    """
    path = Path(path)
    name = f"strategy_plugin:{path.resolve()}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise SpecError(f"plug-in {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, SpecError):
            raise SpecError(f"{path}: {error}") from error
        raise SpecError(f"plug-in {path} failed: {type(error).__name__}: {error}") from error


def load_entry_points() -> None:
    """Run the registering function of every installed distribution that offers one."""
    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()()
        except SpecError:
            raise
        except Exception as error:
            raise SpecError(f"plug-in {point.value} failed: {type(error).__name__}: {error}") from error
