"""How sure and how many the commits are as decoding goes on: mean curves of each strategy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib import ticker

from results.plots import style
from results.records import SampleRecord

POINTS = 60  # places along a decode at which the curves are drawn


def curve(samples: Sequence[SampleRecord]) -> pd.DataFrame:
    """Mean confidence of committed tokens, and tokens committed a forward, along a sample's decode.

    At each of `POINTS` shares of its NFE a sample counts with the forward it is then in, so that samples of
    few and of many forwards lie on one axis. Each token counts once, so long answers weigh more. Columns:
    share (the point's place), confidence (NaN where that forward committed nothing in any sample),
    tokens_a_forward, samples.
    """
    place = (np.arange(POINTS) + 0.5) / POINTS
    sums, tokens, counted = np.zeros(POINTS), np.zeros(POINTS), 0
    for record in samples:
        if record.status != "ok" or not record.nfe or not record.confidence:
            continue
        steps = np.asarray(record.commit_step)
        sure = np.array([np.nan if c is None else c for c in record.confidence], dtype=float)
        usable = (steps > 0) & np.isfinite(sure)
        now = (place * record.nfe).astype(int)
        sums += np.bincount(steps[usable] - 1, sure[usable], record.nfe)[now]
        tokens += np.bincount(steps[usable] - 1, minlength=record.nfe)[now]
        counted += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        frame = {"confidence": sums / tokens, "tokens_a_forward": tokens / (counted or np.nan)}
    return pd.DataFrame({"share": place, **frame, "samples": counted})


def draw(samples: Sequence[SampleRecord], strategies: Sequence[str], path: Path) -> list[Path]:
    """Write the figure of the strategies as PNG, SVG and CSV (`path` has no suffix)."""
    groups: dict[str, list[SampleRecord]] = {spec: [] for spec in strategies}
    for record in samples:
        if record.strategy in groups:
            groups[record.strategy].append(record)
    curves = {spec: curve(group) for spec, group in groups.items()}
    marks = style.marks(list(dict.fromkeys(record.strategy for record in samples)))
    panels = (
        ("confidence", "mean confidence of the tokens committed"),
        ("tokens_a_forward", "tokens committed a forward"),
    )
    with plt.rc_context(style.RC):
        figure, slots = plt.subplots(1, 2, figsize=(10.4, 4.1), layout="constrained")
        for slot, (name, title) in zip(slots, panels, strict=True):
            for i, (spec, frame) in enumerate(curves.items()):
                shape = style.marker_style(marks[spec], small=True)
                slot.plot(
                    frame["share"],
                    frame[name],
                    color=marks[spec].colour,
                    lw=1.3,
                    ls="--" if style.rule_of(spec) == "oracle" else "-",
                    markevery=(3 * (i % 4), 12),
                    label=spec,
                    **shape,
                )
            slot.set_title(title, fontsize=10)
            slot.set_xlabel("share of the sample's forwards")
            slot.xaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=0))
            slot.set_xlim(0, 1)
        lowest = min((frame["confidence"].min() for frame in curves.values()), default=0.0)
        bottom = min(0.9, np.floor(10 * np.nan_to_num(lowest)) / 10)
        slots[0].set_ylim(bottom, 1 + 0.03 * (1 - bottom))
        slots[1].set_ylim(bottom=0)
        handles, names = slots[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right upper", fontsize=8.6)
        part = f" ({len(curves)} of {len(marks)} strategies)" if len(curves) < len(marks) else ""
        title = f"Certainty as decoding goes on{part}"
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, weight="bold")
        data = pd.concat([frame.assign(strategy=spec) for spec, frame in curves.items()], ignore_index=True)
        return style.save(
            figure, path, data[["strategy", "share", "confidence", "tokens_a_forward", "samples"]]
        )
