"""The rows of a benchmark: from local jsonl files under `--data`, or from the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.tasks.base import Doc
from harness.tasks.lmeval import Definition


def load_rows(
    definition: Definition, split: str, data_dir: Path | None, fields: tuple[str, ...]
) -> list[Doc]:
    """The rows of one split, in order, each with `fields` checked. Raises UserError naming file and line."""
    if definition.demo:
        from harness.tasks.demo import generate

        return generate(definition.name, split)
    rows = _local(definition, split, data_dir) if data_dir is not None else _hub(definition, split)
    if not rows:
        raise UserError(f"{definition.name}: the {split} split is empty")
    return [_checked(definition, fields, where, row) for where, row in rows]


def read_jsonl(path: Path) -> list[tuple[int, Any]]:
    """(line number, value) of every line that is not blank. Raises UserError naming file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append((number, json.loads(line)))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number}: not JSON ({error.msg} at column {error.colno})") from None
    return rows


def _local(definition: Definition, split: str, directory: Path) -> list[tuple[str, Doc]]:
    if not directory.is_dir():
        raise UserError(f"--data {directory}: no such directory")
    name = definition.local.get(split)
    if name is None:
        raise UserError(f"{definition.name}: no local form of its {split} split; leave --data out")
    path = directory / name
    if not path.is_file():
        raise UserError(f"--data {directory}: {definition.name} needs {name} there for its {split} split")
    rows = []
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        if not isinstance(row, dict):
            raise UserError(f"{where}: not a JSON object")
        if split in definition.task_ids:
            low, high = definition.task_ids[split]
            if "task_id" not in row:
                raise UserError(f"{where}: no field 'task_id'")
            if not low <= row["task_id"] <= high:
                continue
        rows.append((where, row))
    return rows


def _hub(definition: Definition, split: str) -> list[tuple[str, Doc]]:
    import datasets

    path, config = definition.hub
    configs = definition.hub_configs or (config,)
    rows: list[tuple[str, Doc]] = []
    for name in configs:
        try:
            loaded = datasets.load_dataset(path, name, split=split)
        except Exception as error:  # the hub's client raises many unrelated kinds
            reason = " ".join(str(error).split())[:200]
            files = ", ".join(definition.local.values())
            raise UserError(
                f"cannot load {path} from the hub ({type(error).__name__}: {reason}); "
                f"give --data DIR, a directory with {files}"
            ) from None
        rows += [(f"{path}/{name or split} row {index}", dict(row)) for index, row in enumerate(loaded)]
    return rows


def _checked(definition: Definition, fields: tuple[str, ...], where: str, row: Doc) -> Doc:
    for name in fields:
        if name not in row:
            raise UserError(f"{where}: no field {name!r}; {definition.name} needs {', '.join(fields)}")
    if definition.boxed and "\\boxed" not in row[definition.boxed] and "\\fbox" not in row[definition.boxed]:
        raise UserError(f"{where}: field {definition.boxed!r} holds no \\boxed answer")
    return row
