"""The tasks by name: `list tasks` and `load_task`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.errors import UserError
from harness.tasks.base import TaskInfo
from harness.tasks.lmeval import load_definition
from harness.tasks.protocols import DEFAULT, Protocol, load_protocol, protocol_names
from harness.tasks.task import OPTIONS, Task
from strategies.registry import nearest

DEMO = "demo"
ALIASES = {"minerva_math": "math", "minerva_math500": "math500"}


def default_protocol(name: str) -> str:
    """The protocol a task runs under where none is named: the demo suites have their own."""
    return DEMO if name.startswith(f"{DEMO}-") else DEFAULT


def task_names() -> list[str]:
    """Every task that some protocol knows, the demo suites first."""
    names = {task for protocol in protocol_names() for task in load_protocol(protocol).tasks}
    return sorted(names, key=lambda name: (not name.startswith(f"{DEMO}-"), name))


def list_tasks() -> list[TaskInfo]:
    """What `list tasks` prints."""
    infos = []
    for name in task_names():
        _, protocol = _resolve(name, None)
        definition = load_definition(protocol.tasks[name].lm_eval)
        source = "generated" if definition.demo else definition.hub[0]
        headline = protocol.tasks[name].headline or definition.headline
        infos.append(TaskInfo(name, definition.about, headline, source, definition.grader == "code"))
    return infos


def load_task(
    name: str,
    *,
    protocol: str | None = None,
    data_dir: Path | None = None,
    allow_unsandboxed: bool = False,
    options: Iterable[str] = (),
) -> Task:
    """The task of that name under a protocol; its rows are read when they are first needed. Raises UserError.

    A demo suite keeps its own protocol where the one named does not know it. `options` are keys of OPTIONS.
    """
    name, found = _resolve(ALIASES.get(name, name), protocol)
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise UserError(f"unknown task option {unknown[0]!r}; there are {', '.join(OPTIONS)}")
    return Task(
        name,
        found,
        load_definition(found.tasks[name].lm_eval),
        data_dir=None if data_dir is None else Path(data_dir),
        allow_unsandboxed=allow_unsandboxed,
        options=frozenset(options),
    )


def _resolve(name: str, protocol: str | None) -> tuple[str, Protocol]:
    """The task's name and the protocol it runs under."""
    if name not in task_names():
        known = task_names()
        raise UserError(f"unknown task {name!r}{nearest(name, known)} (there are {', '.join(known)})")
    found = load_protocol(protocol or default_protocol(name))
    if name not in found.tasks and default_protocol(name) == DEMO:
        found = load_protocol(DEMO)
    if name not in found.tasks and protocol is None:
        owners = [p for p in protocol_names() if name in load_protocol(p).tasks]
        found = load_protocol(owners[0])
    if name not in found.tasks:
        raise UserError(f"protocol {found.name!r} has no task {name!r}; it has {', '.join(found.tasks)}")
    return name, found
