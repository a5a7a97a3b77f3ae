"""The trend of the regression set over commits: forwards and accuracy of each strategy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib import ticker

from results.plots import style

COMMITS = 40


def draw(history: pd.DataFrame, path: Path) -> list[Path]:
    """Write the trend of a history (see `results.history`) as PNG, SVG and CSV (`path` has no suffix).

    Forwards are means over the suites, accuracy over their problems; the latest commits are shown.
    """
    commits = list(dict.fromkeys(history["commit"]))[-COMMITS:]
    shown = history[history["commit"].isin(commits)]
    judged = shown[shown["accuracy"].notna()]
    right = (judged["accuracy"] * judged["n"]).groupby([judged["commit"], judged["strategy"]]).sum()
    asked = judged.groupby(["commit", "strategy"])["n"].sum()
    forwards = shown.groupby(["commit", "strategy"], sort=False)["nfe"].mean()
    data = pd.DataFrame({"nfe": forwards, "accuracy": right / asked}).reset_index()
    places = {commit: i for i, commit in enumerate(commits)}
    data = data.sort_values("commit", key=lambda column: column.map(places), kind="stable")
    marks = style.marks(list(dict.fromkeys(shown["strategy"])))
    with plt.rc_context(style.RC):
        figure, slots = plt.subplots(1, 2, figsize=(11.4, 4.3), layout="constrained")
        for slot, name, title in zip(
            slots, ("nfe", "accuracy"), ("forwards a sample", "accuracy"), strict=True
        ):
            for spec, line in data.groupby("strategy", sort=False):
                mark = marks[str(spec)]
                xs = [places[commit] for commit in line["commit"]]
                slot.plot(
                    xs,
                    line[name],
                    color=mark.colour,
                    lw=1.2,
                    label=spec,
                    **style.marker_style(mark, small=True),
                )
            slot.set_title(title, fontsize=10)
            ticks = np.unique(np.linspace(0, len(commits) - 1, min(len(commits), 8)).round().astype(int))
            slot.set_xticks(ticks, [commits[i][:7] for i in ticks], rotation=30, ha="right", fontsize=8)
            slot.margins(x=0.05)
        slots[0].set_yscale("log")
        slots[0].yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        slots[0].yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        slots[0].yaxis.set_minor_locator(ticker.NullLocator())
        slots[1].yaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=0))
        handles, names = slots[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right upper", fontsize=8.6)
        figure.suptitle("Regression set over commits", x=0.01, ha="left", fontsize=13, weight="bold")
        return style.save(figure, path, data)
