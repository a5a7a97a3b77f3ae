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
        Entry("demo", "embedded: a few million parameters, trained on the demo suites"),
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


def entry_of(name: str) -> Entry | None:
    """The catalog entry of a name or of a hub id that the catalog lists."""
    return CATALOG.get(name) or next((e for e in CATALOG.values() if e.hub == name), None)


def locate(name_or_path: str, revision: str | None = None) -> Path:
    """The directory of a model's files, downloaded first where it is a hub model.

    An existing directory wins over a hub id of the same spelling; a catalog name wins over both.
    Raises UserError for a name that is none of the three, and what hub.fetch raises.
    """
    entry = CATALOG.get(name_or_path)
    if entry is not None and entry.hub is None:
        return DEMO
    path = Path(name_or_path).expanduser()
    if entry is None and name_or_path and path.is_dir():
        return path
    if entry is None and (path.exists() or not HUB_ID.fullmatch(name_or_path) or name_or_path[0] == "."):
        raise UserError(_unknown(name_or_path, path))

    from harness.models.hub import fetch

    return fetch(entry.hub if entry and entry.hub else name_or_path, revision)


def _unknown(name: str, path: Path) -> str:
    if path.is_file():
        return f"--model {name} is a file; name its directory (config.json, safetensors)"
    close = difflib.get_close_matches(name, CATALOG, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return (
        f"--model {name!r} is unknown: {hint}names are {', '.join(CATALOG)}; "
        "a hub id ORG/NAME or an existing directory works too"
    )
