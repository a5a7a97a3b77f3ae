"""`python -m harness list`: what strategies, tasks, models and protocols there are."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Iterable

from strategies.plugins import load_entry_points, load_file

HELP = "name the strategies, tasks, models or protocols"
KINDS = ("strategies", "tasks", "models", "protocols")
GAP = 2


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the command's options."""
    parser = subparsers.add_parser("list", help=HELP, description=HELP)
    parser.add_argument("what", choices=KINDS)
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE.py")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    load_entry_points()
    for plugin in args.plugin:
        load_file(plugin)
    lines = {
        "strategies": strategy_lines,
        "tasks": task_lines,
        "models": model_lines,
        "protocols": protocol_lines,
    }[args.what]
    print("\n".join(lines()))
    return 0


def columns(rows: Iterable[tuple[str, ...]], indent: int = 2) -> list[str]:
    """Rows of texts as aligned lines."""
    rows = [tuple(row) for row in rows]
    if not rows:
        return []
    widths = [max(len(row[place]) for row in rows) + GAP for place in range(len(rows[0]))]
    return [
        (" " * indent + "".join(text.ljust(width) for text, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def strategy_lines() -> list[str]:
    """Every part with its keys and defaults, the presets, and what `all` stands for."""
    from strategies.registry import ALL, PARTS, PRESETS

    lines = ["A strategy is rule[+cache][+stop][@adapter], each part NAME[:key=value,...].", ""]
    for kind in ("rule", "cache", "stop"):
        lines.append(f"{kind}s" if kind != "rule" else "rules (exactly one)")
        parts = [part for part in PARTS.values() if part.kind == kind]
        lines += columns((part.name, _keys(part.cls), part.source) for part in parts)
        lines.append("")
    lines += ["presets", *columns((name, f"= {spec}") for name, spec in PRESETS.items()), ""]
    lines += ["all", *textwrap.wrap(", ".join(ALL), 100, initial_indent="  ", subsequent_indent="  ")]
    return lines


def _keys(part: type) -> str:
    """`key=default (options)` of every key of a part."""
    said = []
    for field in dataclasses.fields(part):
        options = field.metadata.get("options", ())
        others = f" ({', '.join(options[1:])})" if options else ""
        said.append(f"{field.name}={'-' if field.default is None else field.default}{others}")
    return "; ".join(said)


def task_lines() -> list[str]:
    """Every task with its headline metric and where its problems come from."""
    from harness.tasks import list_tasks

    rows = [
        (info.name, info.headline, info.source, info.about + (" (runs code)" if info.runs_code else ""))
        for info in list_tasks()
    ]
    return columns([("task", "headline", "source", "about"), *rows], 0)


def model_lines() -> list[str]:
    """Every named model with its hub repository."""
    from harness.models.catalog import CATALOG

    rows = [(entry.name, entry.hub or "embedded", entry.summary) for entry in CATALOG.values()]
    return [*columns([("model", "hub", "about"), *rows], 0), "", "A hub id or a local directory works too."]


def protocol_lines() -> list[str]:
    """Every protocol with its hash and tasks."""
    from harness.tasks.protocols import load_protocol, protocol_names

    lines = []
    for name in protocol_names():
        protocol = load_protocol(name)
        lines.append(f"{name}  {protocol.hash}  {protocol.about}")
        lines += columns(
            (task, f"{s.shots}-shot", "chat" if s.chat else "plain", f"{s.gen_length}/{s.block_length}")
            for task, s in protocol.tasks.items()
        )
    return lines
