"""Plug-ins: a researcher's own rule, cache or stop joins by a Python file or an entry point."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path

from strategies.errors import SpecError
from strategies.registry import PARTS

OURS = tuple(Path(__file__).parents[1] / name for name in ("harness", "strategies"))
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
    before = dict(PARTS)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        PARTS.clear()
        PARTS.update(before)
        if isinstance(error, SpecError):
            raise SpecError(f"{path}: {error}") from error
        raise SpecError(f"plug-in {path} failed: {type(error).__name__}: {error}") from error


def blamed(error: BaseException) -> str | None:
    """One line that names the place in a plug-in where `error` arose, None where it arose elsewhere.

    Below the plug-in's last frame there may be libraries, but none of this project's files.
    """
    if isinstance(error, MemoryError):
        return None
    modules = {part.cls.__module__ for part in PARTS.values()}
    own = {
        getattr(sys.modules.get(name), "__file__", None)
        for name in modules
        if not name.startswith("strategies.")
    }
    at = None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename in own:
            at = frame
        elif any(Path(frame.filename).is_relative_to(folder) for folder in OURS):
            at = None
    if at is None:
        return None
    return f"plug-in {at.filename}, line {at.lineno}, in {at.name}: {type(error).__name__}: {error}"


def load_entry_points() -> None:
    """Run the registering function of every installed distribution that offers one."""
    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()()
        except SpecError:
            raise
        except Exception as error:
            raise SpecError(f"plug-in {point.value} failed: {type(error).__name__}: {error}") from error
