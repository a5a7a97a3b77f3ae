"""How every figure looks, and how strategies are told apart in colour and in grey."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

RC: dict[Any, Any] = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "svg.fonttype": "none",
    "svg.hashsalt": "results",
    "legend.frameon": False,
}
INK = "#1a1a1a"
MUTED = "#6b6b6b"

# One colour a rule, of clearly different lightness where rules meet on a plot; one marker a strategy.
_RULE_COLOURS = {
    "fixed": "#1a1a1a",
    "few-step": "#8c8c8c",
    "confidence": "#0b62b0",
    "factor": "#c8500a",
    "entropy": "#0f8a66",
    "learn2pd": "#8d3fa8",
    "dparallel": "#c2185b",
    "consistency": "#9a7b00",
    "oracle": "#1a1a1a",
}
_SPARE_COLOURS = ("#b23b3b", "#3b7a9a", "#5d7a1f", "#7a5230", "#4b4ba8")
_MARKERS = ("^", "v", "<", ">", "d", "p", "D", "X", "P", "h", "s", "o")
_FILLS = ("full", "left", "none")
_RESERVED = {"fixed": "s", "oracle": "*"}
_PREFERRED = {"confidence": "o", "factor": "D", "entropy": "P", "few-step": "X", "dparallel": "h"}


@dataclass(frozen=True)
class Mark:
    """One strategy's colour, matplotlib marker, and whether the marker is filled wholly, by half or not."""

    colour: str
    marker: str
    fill: str = "full"


def rule_of(spec: str) -> str:
    """The unmasking rule or preset that a spec begins with; a merged run's name may follow it."""
    return re.split(r"[:+@]| \(", spec, maxsplit=1)[0]


def marks(strategies: Sequence[str]) -> dict[str, Mark]:
    """A mark for each strategy, none like another in grey: a cached strategy keeps the shape of its uncached
    self and is half filled (prefix-cache) or hollow (any other cache)."""
    spare: dict[str, str] = {}
    shape_of: dict[str, str] = {spec: shape for spec, shape in _PREFERRED.items() if spec in strategies}
    found: dict[str, Mark] = {}
    taken = {("s", "full"), ("*", "none")}
    for spec in dict.fromkeys(strategies):
        rule = rule_of(spec)
        if rule not in _RULE_COLOURS and rule not in spare:
            spare[rule] = _SPARE_COLOURS[len(spare) % len(_SPARE_COLOURS)]
        colour = _RULE_COLOURS.get(rule) or spare[rule]
        if spec in _RESERVED:
            found[spec] = Mark(colour, _RESERVED[spec], "none" if rule == "oracle" else "full")
            continue
        uncached, fill = re.sub(r"\+[a-z0-9]+-cache[^+@]*", "", spec), "full"
        if uncached != spec:
            fill = "left" if "prefix-cache" in spec else "none"
        wanted = (shape_of.get(uncached, ""), fill)
        free = [(shape, each) for each in (fill, *_FILLS) for shape in _MARKERS if (shape, each) not in taken]
        unused = [pair for pair in free if pair[0] not in shape_of.values()]
        if not wanted[0] or wanted in taken:
            wanted = (unused or free or [("o", fill)])[0]
        taken.add(wanted)
        shape_of.setdefault(uncached, wanted[0])
        found[spec] = Mark(colour, *wanted)
    return found


def marker_style(mark: Mark, *, small: bool = False) -> dict[str, Any]:
    """A mark as matplotlib's line properties; filled marks get a white rim so that they stay apart."""
    size = (11 if mark.marker == "*" else 7.5) * (0.7 if small else 1)
    return {
        "marker": mark.marker,
        "ms": size,
        "mfc": "white" if mark.fill == "none" else mark.colour,
        "mec": "white" if mark.fill == "full" else mark.colour,
        "mew": 0.7 if mark.fill == "full" else 1.2,
        "fillstyle": "left" if mark.fill == "left" else "full",
        "markerfacecoloralt": "white",
    }


def save(figure: Figure, path: Path, data: pd.DataFrame) -> list[Path]:
    """Write `path` (without suffix) as .png, .svg and .csv, and close the figure; returns the three paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path.with_name(path.name + suffix) for suffix in (".png", ".svg", ".csv")]
    figure.savefig(written[0])
    figure.savefig(written[1], metadata={"Date": None})
    data.to_csv(written[2], index=False, lineterminator="\n")
    plt.close(figure)
    return written
