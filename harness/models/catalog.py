"""The models known by name, and what any --model value means: a name, a hub id or a directory."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UserError

DEMO = Path(__file__).resolve().parent.parent / "assets" / "demo"


@dataclass(frozen=True)
class Entry:
    """A named model. hub: its repository, None for the embedded one.

    merged: adapter name -> the catalog name of a full checkpoint that was released with it merged in.
    """

    name: str
    summary: str
    hub: str | None = None
    merged: dict[str, str] = field(default_factory=dict)


CATALOG = {
    entry.name: entry
    for entry in (
        Entry("demo", "a few million parameters, trained on the demo suites"),
        Entry(
            "llada-8b-instruct",
            "LLaDA 8B, instruction-tuned",
            "GSAI-ML/LLaDA-8B-Instruct",
            {"dparallel": "dparallel-llada-8b-instruct"},
        ),
        Entry("llada-8b-base", "LLaDA 8B, pre-trained", "GSAI-ML/LLaDA-8B-Base"),
        Entry("llada-1.5", "LLaDA 1.5, preference-optimised 8B", "GSAI-ML/LLaDA-1.5"),
        Entry(
            "dream-7b-instruct",
            "Dream 7B, instruction-tuned",
            "Dream-org/Dream-v0-Instruct-7B",
            {"dparallel": "dparallel-dream-7b-instruct"},
        ),
        Entry("dream-7b-base", "Dream 7B, pre-trained", "Dream-org/Dream-v0-Base-7B"),
        Entry(
            "dparallel-llada-8b-instruct",
            "LLaDA 8B Instruct distilled by dParallel",
            "Zigeng/dParallel-LLaDA-8B-instruct",
        ),
        Entry(
            "dparallel-dream-7b-instruct",
            "Dream 7B Instruct distilled by dParallel",
            "Zigeng/dParallel_Dream_7B_Instruct",
        ),
    )
}

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def split_revision(name: str) -> tuple[str, str | None]:
    """NAME@REVISION as its halves where NAME is of the catalog or a hub id, any other text whole."""
    base, at, revision = name.rpartition("@")
    if at and revision and (base in CATALOG or HUB_ID.fullmatch(base)):
        return base, revision
    return name, None


def entry_of(name: str) -> Entry | None:
    """The catalog entry of a name or of a hub id that the catalog lists, with a revision or without."""
    base, _ = split_revision(name)
    return CATALOG.get(base) or next((e for e in CATALOG.values() if e.hub == base), None)


def locate(name_or_path: str, revision: str | None = None) -> Path:
    """The directory of a model's files, downloaded first where it is a hub model.

    A catalog name or hub id may be followed by @REVISION (branch, tag or commit). An existing directory
    wins over a hub id of the same spelling; a catalog name wins over both. Raises UserError for a name
    that is none of the three, and what hub.fetch raises.
    """
    path = Path(name_or_path).expanduser()
    if name_or_path and name_or_path not in CATALOG and path.is_dir():
        return path
    name, named = split_revision(name_or_path)
    entry = CATALOG.get(name)
    if entry is not None and entry.hub is None:
        return DEMO
    if entry is None and (path.exists() or not HUB_ID.fullmatch(name) or name[0] == "."):
        raise UserError(_unknown(name_or_path, path))

    from harness.models.hub import fetch

    return fetch(entry.hub if entry and entry.hub else name, named or revision)


def _unknown(name: str, path: Path) -> str:
    if path.is_file():
        return f"--model {name} is a file; name its directory (config.json, safetensors)"
    close = difflib.get_close_matches(name, CATALOG, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return (
        f"--model {name!r} is unknown: {hint}names are {', '.join(CATALOG)}; "
        "a hub id ORG/NAME[@REVISION] or an existing directory works too"
    )
