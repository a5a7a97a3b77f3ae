"""Accuracy against speed: one panel a suite beside their mean, with frontier, error bars and bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from results.curves import families, pareto
from results.metrics import mean_over_tasks
from results.plots import labels, style
from results.plots.style import INK, MUTED, Mark


@dataclass(frozen=True)
class SpeedAxis:
    """One measure of speed: its column in the summary, its title, and whether more of it is better.

    bounded: the oracle bounds every rule's; it does not where a cache saves what the oracle recomputes.
    """

    column: str
    title: str
    more_is_better: bool
    bounded: bool


AXES = {
    "tpf": SpeedAxis("tpf_eos", "tokens per forward (TPF)", True, True),
    "nfe": SpeedAxis("nfe", "forwards a sample (NFE)", False, True),
    "tps": SpeedAxis("tps", "tokens per second (TPS)", True, False),
    "flops": SpeedAxis("flops", "estimated FLOPs a sample", False, False),
}


PUBLISHED: dict[str, Any] = {"marker": (4, 1, 0), "ms": 9, "mfc": "none", "mec": MUTED, "mew": 1}


def draw(
    summary: pd.DataFrame, path: Path, axis: SpeedAxis, *, published: pd.DataFrame | None = None
) -> list[Path]:
    """Write the figure (`path` without suffix) as PNG, SVG and CSV.

    The speed's scale is logarithmic, so what has none above 0 (no token at all) is left out.

    Args:
        summary: as `results.metrics.summarise` gives it.
        published: rows with task, strategy, accuracy (0..1) and the axis' column, drawn as hollow marks.
    """
    cells = summary[summary["accuracy"].notna() & (summary[axis.column] > 0)]
    tasks = list(dict.fromkeys(cells["task"]))
    panels = {str(task): cells[cells["task"] == task] for task in tasks}
    if len(tasks) > 1:
        mean = mean_over_tasks(cells)
        panels = {f"mean of {len(tasks)} suites": mean, **panels} if len(mean) else panels
    points = [frame.assign(panel=name, frontier=_on_frontier(frame, axis)) for name, frame in panels.items()]
    marks = style.marks(list(dict.fromkeys(summary["strategy"])))
    with plt.rc_context(style.RC):
        columns = 2 if len(panels) in (1, 3) else 3
        rows = math.ceil((len(panels) + 1) / columns)
        figure, grid = plt.subplots(
            rows,
            columns,
            figsize=(4.1 * columns + 0.3, 3.75 * rows + 0.45),
            layout="constrained",
            squeeze=False,
        )
        slots = list(grid.flat)
        for frame, slot in zip(points, slots, strict=False):
            _panel(slot, frame, axis, marks, _of_task(published, frame, axis))
        for slot in slots[len(points) :]:
            slot.axis("off")
        printed = any(len(_of_task(published, frame, axis)) for frame in points)
        _legend(slots[len(points)], marks, axis, printed)
        figure.suptitle(f"Accuracy against {axis.title}", x=0.012, ha="left", fontsize=13, weight="bold")
        figure.canvas.draw()
        figure.set_layout_engine("none")
        for frame, slot in zip(points, slots, strict=False):
            _name_points(slot, frame, axis, marks, _of_task(published, frame, axis))
        return style.save(figure, path, _data(points, axis, published))


def _on_frontier(frame: pd.DataFrame, axis: SpeedAxis) -> np.ndarray:
    sign = 1 if axis.more_is_better else -1
    methods = ~frame["strategy"].str.startswith("oracle").to_numpy()
    pairs = [
        (sign * x, y) if m else (math.nan, y)
        for x, y, m in zip(frame[axis.column], frame["accuracy"], methods, strict=True)
    ]
    chosen = np.zeros(len(frame), dtype=bool)
    chosen[pareto(pairs)] = True
    return chosen


def _panel(
    slot: Axes, frame: pd.DataFrame, axis: SpeedAxis, marks: dict[str, Mark], published: pd.DataFrame
) -> None:
    """One suite: frontier, sweep lines, error bars, marks, the oracle's bound and the published points."""
    slot.set_title(str(frame["panel"].iloc[0]) if len(frame) else "")
    _scales(slot, [*frame[axis.column], *published.get(axis.column, [])], axis)
    by_spec = frame.set_index("strategy")
    for members in families(list(frame["strategy"])).values():
        line = by_spec.loc[members].sort_values("nfe")  # as the setting goes; the clock may disorder it
        slot.plot(line[axis.column], line["accuracy"], color=marks[members[0]].colour, lw=1, ls=":", zorder=2)
    for spec, row in by_spec.iterrows():
        mark = marks[str(spec)]
        x, y = row[axis.column], row["accuracy"]
        low, high = y - row["accuracy_low"], row["accuracy_high"] - y
        slot.errorbar(
            x, y, [[low], [high]], color=mark.colour, elinewidth=0.9, alpha=0.28, capsize=0, zorder=2
        )
        slot.plot([x], [y], ls="", zorder=4, **style.marker_style(mark))
        if axis.bounded and str(spec).startswith("oracle"):
            slot.axvline(x, color=MUTED, lw=0.9, ls=(0, (4, 3)), zorder=1)
    for _, row in published.iterrows():
        slot.plot(row[axis.column], row["accuracy"], ls="", zorder=3, **PUBLISHED)
    _frontier(slot, frame, axis)


def _frontier(slot: Axes, frame: pd.DataFrame, axis: SpeedAxis) -> None:
    """The staircase that the best points span, shaded on the side that they dominate."""
    front = frame[frame["frontier"]].sort_values(axis.column, ascending=not axis.more_is_better)
    if front.empty:
        return
    (left, right), (bottom, top) = slot.get_xlim(), slot.get_ylim()
    slow = left if axis.more_is_better else right
    corners = [(x, y) for x, y in zip(front[axis.column], front["accuracy"], strict=True)]
    xs, ys = [corners[0][0]], [bottom]
    for (x, y), following in zip(corners, [*corners[1:], (slow, None)], strict=True):
        xs += [x, following[0]]
        ys += [y, y]
    slot.plot(xs, ys, color="#8a8a8a", lw=1.1, zorder=1.5, solid_joinstyle="miter")
    slot.fill_between(xs, ys, bottom, color="#8a8a8a", alpha=0.09, lw=0, zorder=0.5)
    slot.set_xlim(left, right)
    slot.set_ylim(bottom, top)


def _scales(slot: Axes, speeds: list[float], axis: SpeedAxis) -> None:
    slot.yaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=0))
    slot.yaxis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 5, 10]))
    arrow = "faster →" if axis.more_is_better else "← faster"
    slot.set_xlabel(f"{axis.title}   {arrow}")
    slot.set_ylabel("accuracy")
    slot.set_xscale("log")
    if not speeds:
        return
    low, high = min(speeds), max(speeds)
    slot.set_xlim(low / (high / low) ** 0.09 / 1.06, high * (high / low) ** 0.09 * 1.06)
    subdivisions = (1.0,) if high / low > 1000 else (1.0, 2.0, 5.0)
    slot.xaxis.set_major_locator(ticker.LogLocator(subs=subdivisions, numticks=12))
    slot.xaxis.set_minor_locator(ticker.NullLocator())
    plain = ticker.FormatStrFormatter("%g")
    slot.xaxis.set_major_formatter(plain if high < 1e4 else ticker.EngFormatter(sep=""))


def _name_points(
    slot: Axes, frame: pd.DataFrame, axis: SpeedAxis, marks: dict[str, Mark], published: pd.DataFrame
) -> None:
    """Write the names of the frontier, the baseline, the bound and the published points beside them."""
    telling = (
        frame["frontier"] | frame["strategy"].isin(["fixed"]) | frame["strategy"].str.startswith("oracle")
    )
    named = frame[telling].sort_values("accuracy", ascending=False)
    texts = [
        labels.Label(
            row[axis.column], row["accuracy"], str(row["strategy"]), marks[str(row["strategy"])].colour
        )
        for _, row in named.iterrows()
    ]
    for _, row in published.iterrows():  # seconds mean nothing without the machine
        machine = f" ({row['hardware']})" if axis.column == "tps" and row.get("hardware") else ""
        texts.append(labels.Label(row[axis.column], row["accuracy"], f"{row['strategy']}{machine}", MUTED))
    spots = list(zip(frame[axis.column], frame["accuracy"], strict=True))
    spots += [(label.x, label.y) for label in texts]
    labels.place(slot, texts, spots, size=7.8)


def _legend(slot: Axes, marks: dict[str, Mark], axis: SpeedAxis, published: bool) -> None:
    """The key: every strategy's mark, then what the lines and hollow marks mean."""
    handles = [Line2D([], [], ls="", label=spec, **style.marker_style(mark)) for spec, mark in marks.items()]
    handles += [
        Line2D([], [], color="#8a8a8a", lw=1.1, label="Pareto frontier"),
        Line2D([], [], color=MUTED, lw=0.9, marker="|", ls="", ms=11, label="95 % interval"),
    ]
    if families(list(marks)):
        handles.append(Line2D([], [], color=MUTED, lw=1, ls=":", label="settings of one strategy"))
    if axis.bounded and any(spec.startswith("oracle") for spec in marks):
        handles.append(Line2D([], [], color=MUTED, lw=0.9, ls=(0, (4, 3)), label="oracle's bound"))
    if published:
        counted = " (tokens after stop strings)" if axis.column == "tpf_eos" else ""
        handles.append(Line2D([], [], ls="", label=f"published{counted}", **PUBLISHED))
    size = 8.6 if len(handles) <= 20 else 7.2
    columns = 1 if len(handles) <= 22 else 2
    slot.legend(
        handles=handles, loc="upper left", fontsize=size, ncols=columns, labelcolor=INK, borderaxespad=0
    )


def _of_task(published: pd.DataFrame | None, frame: pd.DataFrame, axis: SpeedAxis) -> pd.DataFrame:
    if published is None or published.empty or axis.column not in published:
        return pd.DataFrame()
    rows = published[published["task"].isin(frame["task"])]
    return rows[rows[axis.column].notna() & rows["accuracy"].notna()]


def _data(points: list[pd.DataFrame], axis: SpeedAxis, published: pd.DataFrame | None) -> pd.DataFrame:
    """Everything that is drawn; `source` is empty for what this run measured."""
    columns = ["panel", "strategy", axis.column, "accuracy", "accuracy_low", "accuracy_high"]
    columns += ["frontier", "source"]
    if not points:
        return pd.DataFrame(columns=columns)
    frames = [frame.assign(source="") for frame in points]
    for frame in points:
        printed = _of_task(published, frame, axis)
        if len(printed):
            frames.append(printed.assign(panel=frame["panel"].iloc[0], frontier=False))
    return pd.concat(frames, ignore_index=True).reindex(columns=columns)
