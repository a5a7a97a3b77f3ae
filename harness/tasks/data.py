"""The rows of a benchmark: from local jsonl files under `--data`, or from the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import UserError, check_text
from harness.tasks.base import Doc
from harness.tasks.lmeval import Definition

ID_FIELD = "task_id"
LIST_FIELD = "test_list"
HUB_TIMEOUT_S = 10


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
        text = path.read_text(encoding="utf-8-sig")
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
        except RecursionError:
            raise UserError(f"{path}:{number}: nested too deeply") from None
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
    for line, row in read_jsonl(path):
        where = f"{path}:{line}"
        if not isinstance(row, dict):
            raise UserError(f"{where}: not a JSON object")
        check_text(json.dumps(row, ensure_ascii=False), f"{where}:")
        if split in definition.task_ids:
            low, high = definition.task_ids[split]
            number = row.get(ID_FIELD)
            if not isinstance(number, int):
                raise UserError(f"{where}: no number in field {ID_FIELD!r}")
            if not low <= number <= high:
                continue
        rows.append((where, row))
    return rows


def _hub(definition: Definition, split: str) -> list[tuple[str, Doc]]:
    import datasets

    path, config = definition.hub
    rows: list[tuple[str, Doc]] = []
    with _offline_if_unreachable() as trouble:
        for name in definition.hub_configs or (config,):
            try:
                loaded = datasets.load_dataset(path, name, split=split)
            except Exception as error:  # the hub's client raises many unrelated kinds
                reason = trouble or f"{type(error).__name__}: {error}"
                files = ", ".join(definition.local.values())
                raise UserError(
                    f"cannot load {path} from the hub ({' '.join(reason.split())[:200]}); "
                    f"give --data DIR, a directory with {files}"
                ) from None
            rows += [(f"{path}/{name or split} row {index}", dict(row)) for index, row in enumerate(loaded)]
    return rows


@contextmanager
def _offline_if_unreachable() -> Iterator[str]:
    """Yields what is wrong with the hub, "" if nothing; while it is out of reach the cache alone is asked.

    Without this the hub's client tries again for half a minute, file by file.
    """
    import datasets
    from huggingface_hub import constants, get_session

    trouble = ""
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_S)
    except Exception as error:  # which HTTP client raises what depends on the installed version
        trouble = f"{constants.ENDPOINT} is out of reach: {error}"
    places: tuple[Any, ...] = (constants, datasets.config)
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places if trouble else ():
            place.HF_HUB_OFFLINE = True
        yield trouble
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _checked(definition: Definition, fields: tuple[str, ...], where: str, row: Doc) -> Doc:
    for name in fields:
        if name not in row:
            raise UserError(f"{where}: no field {name!r}; {definition.name} needs {', '.join(fields)}")
        if name == LIST_FIELD:
            tests = row[name]
            if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
                raise UserError(f"{where}: field {name!r} is not a list of assertions")
            if len(tests) < definition.assertions:
                least = definition.assertions
                raise UserError(
                    f"{where}: {len(tests)} assertions in field {name!r}; the prompt shows {least}"
                )
        elif name != ID_FIELD and not isinstance(row[name], str):
            raise UserError(f"{where}: field {name!r} is not text")
    if definition.boxed and not _has_box(row[definition.boxed]):
        raise UserError(f"{where}: field {definition.boxed!r} holds no \\boxed answer that ends")
    for name, mark in definition.marks.items():
        if mark not in row[name]:
            raise UserError(f"{where}: field {name!r} holds no answer behind {mark}")
    return row


def _has_box(text: str) -> bool:
    """Whether the last box of a solution is there and closed, as lm-eval's grader needs it."""
    at = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if at < 0 or text.startswith("\\boxed ", at):
        return at >= 0
    depth = 0
    for sign in text[at:]:
        depth += (sign == "{") - (sign == "}")
        if sign == "}" and depth == 0:
            return True
    return False
