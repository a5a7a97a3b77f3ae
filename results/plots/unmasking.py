"""The unmasking map: which position of one sample was committed by which forward, and how surely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from results.plots import style
from results.records import SampleRecord

PANELS = 3
# Dark where unsure, so that the risky commits stand out in grey too.
SURENESS = LinearSegmentedColormap.from_list(
    "sureness", ["#5b1a0e", "#c8500a", "#f0a73c", "#9fcbe6", "#2b78bd"]
)
CUT: dict[str, Any] = {"facecolor": "white", "edgecolor": "#cccccc", "hatch": "////", "lw": 0}
MASKED, SETTLED = "#e6e6e6", "#fafafa"


def pick(samples: Sequence[SampleRecord], strategies: Sequence[str]) -> list[SampleRecord]:
    """One problem under each of the strategies, in their order: the first that all of them decoded."""
    decoded: dict[tuple[str, int], dict[str, SampleRecord]] = {}
    for record in samples:
        if record.status == "ok" and record.commit_step and record.strategy in strategies:
            decoded.setdefault((record.task, record.doc_id), {})[record.strategy] = record
    if not decoded:
        return []
    best = max(decoded.values(), key=len)
    return [best[spec] for spec in strategies if spec in best]


def draw(samples: Sequence[SampleRecord], path: Path, *, block_length: int | None = None) -> list[Path]:
    """Write the map of one problem under up to three strategies as PNG, SVG and CSV (`path` has no suffix).

    Args:
        samples: records of the same problem.
        block_length: where given, block borders are drawn.
    """
    shown = list(samples)[:PANELS]
    tallest = max(_forwards(record) for record in shown)
    longest = max(len(record.commit_step) for record in shown)
    with plt.rc_context({**style.RC, "axes.grid": False}):
        figure, slots = plt.subplots(
            1,
            len(shown),
            figsize=(4.2 * len(shown) + 0.9, 3.1 + 1.5 * min(1, tallest / 100)),
            layout="constrained",
            squeeze=False,
        )
        for record, slot in zip(shown, slots.flat, strict=True):
            _panel(slot, record, longest, block_length)
            slot.set_ylim(tallest + 0.5, 0.5)
        slots.flat[0].set_ylabel("forward")
        scale = plt.cm.ScalarMappable(norm=plt.Normalize(0, 1), cmap=SURENESS)
        figure.colorbar(scale, ax=list(slots.flat), label="confidence when committed", pad=0.01, aspect=28)
        handles: list[Artist] = [
            Patch(facecolor=MASKED, edgecolor="none", label="still masked"),
            Patch(facecolor=SETTLED, edgecolor="#cccccc", label="settled earlier"),
        ]
        if any(len(record.commit_step) < longest for record in shown):
            handles.append(Patch(label="cut off by the stop rule", **CUT))
        if any(record.refresh_steps for record in shown):
            handles.append(Line2D([], [], ls="", marker=">", color=style.INK, ms=5, label="cache refresh"))
        figure.legend(handles=handles, loc="outside lower left", ncols=4, fontsize=8.5)
        title = f"Unmasking of {shown[0].task}, problem {shown[0].doc_id}"
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, weight="bold")
        return style.save(figure, path, _data(shown))


def _forwards(record: SampleRecord) -> int:
    return max([record.nfe or 0, *record.commit_step, 1])


def _panel(slot: Axes, record: SampleRecord, longest: int, block_length: int | None) -> None:
    """One strategy's map on the longest one's scale; what its stop rule cut off is hatched."""
    steps = np.asarray(record.commit_step)
    confidence = np.array(
        [math.nan if c is None else c for c in record.confidence] or [math.nan] * len(steps)
    )
    forwards = _forwards(record)
    rows = np.arange(1, forwards + 1)[:, None]
    image = np.empty((forwards, len(steps), 3))
    image[:] = to_rgb(MASKED)
    image[(rows > steps[None]) & (steps[None] > 0)] = to_rgb(SETTLED)
    here = rows == steps[None]
    image[here] = SURENESS(np.nan_to_num(np.broadcast_to(confidence, here.shape)[here], nan=0.5))[:, :3]
    slot.imshow(
        image,
        aspect="auto",
        interpolation="nearest",
        extent=(0.5, len(steps) + 0.5, forwards + 0.5, 0.5),
    )
    for border in range(block_length or len(steps), len(steps), block_length or len(steps)):
        slot.axvline(border + 0.5, color="white", lw=2.4)
        slot.axvline(border + 0.5, color="#777777", lw=0.7)
    if len(steps) < longest:
        slot.axvspan(len(steps) + 0.5, longest + 0.5, **CUT)
    edge = [0.5 - 0.014 * longest] * len(record.refresh_steps)
    (arrows,) = slot.plot(
        edge, record.refresh_steps, ls="", marker=">", color=style.INK, ms=3.6, clip_on=False
    )
    arrows.set_in_layout(False)
    verdict = {True: "right", False: "wrong", None: "not judged"}[record.correct]
    slot.set_title(record.strategy, fontsize=10)
    slot.set_xlabel(f"position   ({forwards} forwards, {verdict})")
    slot.set_xlim(0.5 - 0.03 * longest, longest + 0.5)


def _data(shown: Sequence[SampleRecord]) -> pd.DataFrame:
    rows = [
        (
            record.task,
            record.doc_id,
            record.strategy,
            position,
            step,
            confidence,
            step in record.refresh_steps,
        )
        for record in shown
        for position, (step, confidence) in enumerate(
            zip(record.commit_step, record.confidence or [None] * len(record.commit_step), strict=True),
            start=1,
        )
    ]
    return pd.DataFrame(
        rows, columns=["task", "doc_id", "strategy", "position", "forward", "confidence", "refresh"]
    )
