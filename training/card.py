"""The card beside every trained artefact: the command that made it, its facts and its tables."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch


def hardware(device: torch.device) -> str:
    """The device and how many threads it computes with."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"


def write_card(
    directory: Path,
    title: str,
    command: str,
    facts: Mapping[str, Any],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    name: str = "README.md",
) -> None:
    """Write a Markdown card with the command that made the artefact, the facts and one table a heading."""
    parts = [f"# {title}\n"]
    parts.append(f"Made by\n\n    {command}\n")
    parts.append(
        "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items())]) + "\n"
    )
    for heading, rows in tables.items():
        if rows:
            parts.append(f"## {heading}\n\n{table(rows)}\n")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text("\n".join(parts))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of like keys as a Markdown table."""
    keys = list(rows[0])
    lines = [" | ".join(keys), "|".join("---" for _ in keys)]
    lines += [" | ".join(_cell(row.get(key, "")) for key in keys) for row in rows]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
