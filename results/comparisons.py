"""Every strategy against one baseline on the same problems: what changed, how surely, and in one word."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from results import statistics
from results.metrics import baseline_of, yardsticks

WITHIN_NOISE = "within noise"
ALL_TASKS = "all"
COLUMNS = [
    "strategy",
    "task",
    "n",
    "difference",
    "difference_low",
    "difference_high",
    "gained",
    "lost",
    "p",
    "p_holm",
    "verdict",
    "nfe_ratio",
    "nfe_ratio_low",
    "nfe_ratio_high",
    "tpf_ratio",
    "tpf_ratio_low",
    "tpf_ratio_high",
    "tps_ratio",
    "tps_ratio_low",
    "tps_ratio_high",
]
RATIOS = {"nfe": ("nfe", None), "tpf": ("tokens_eos", "nfe"), "tps": ("tokens_eos", "latency_s")}


def compare_pair(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, object]:
    """b against a on the problems both answered: accuracy difference, exact test, ratios of NFE, TPF and TPS.

    Both are frames of `results.metrics.to_frame` indexed by whatever names a problem, each once.
    """
    common = a.index.intersection(b.index)
    first, second = a.loc[common], b.loc[common]
    judged = first["correct"].notna() & second["correct"].notna()
    accuracy = statistics.paired_accuracy(
        first.loc[judged, "correct"].to_numpy() > 0, second.loc[judged, "correct"].to_numpy() > 0
    )
    row: dict[str, object] = {
        "n": accuracy.n,
        "difference": accuracy.difference.value,
        "difference_low": accuracy.difference.low,
        "difference_high": accuracy.difference.high,
        "gained": accuracy.gained,
        "lost": accuracy.lost,
        "p": accuracy.p,
    }
    for name, (top, bottom) in RATIOS.items():
        ratio = statistics.paired_ratio(_columns(first, top, bottom), _columns(second, top, bottom))
        row[f"{name}_ratio"], row[f"{name}_ratio_low"], row[f"{name}_ratio_high"] = (
            ratio.value,
            ratio.low,
            ratio.high,
        )
    return row


def _columns(frame: pd.DataFrame, top: str, bottom: str | None) -> tuple[np.ndarray, np.ndarray]:
    below = np.ones(len(frame)) if bottom is None else frame[bottom].to_numpy(dtype=np.float64)
    return frame[top].to_numpy(dtype=np.float64), below


def verdict(difference: float, p: float) -> str:
    """In a word: `better`, `worse`, or `within noise` where the (adjusted) test does not reach 5 %."""
    if not math.isfinite(p):
        return ""
    if p >= statistics.ALPHA or difference == 0:
        return WITHIN_NOISE
    return "better" if difference > 0 else "worse"


def against_baseline(samples: pd.DataFrame) -> pd.DataFrame:
    """A row a strategy x task other than the baseline, and one over all tasks' problems (task `all`).

    A merged run's strategies meet the baseline of their own run, or where that has none the baseline of the
    first run of the same settings; then without a ratio of seconds, which another run measured.
    p_holm is Holm's adjustment over the strategies that meet a baseline on the same task; the verdict is
    read from it. Without a baseline in the samples the table is empty.
    """
    done = samples[samples["status"] == "ok"]
    bases = yardsticks(done, baseline_of)
    likes = dict(zip(done["run"], done["like"], strict=True))
    fallback = {likes[run]: name for run, name in reversed(bases.items())}
    places = zip(done["run"], done["like"], strict=True)
    done = done.assign(base=[bases.get(run, fallback.get(like, "")) for run, like in places])
    tasks = list(dict.fromkeys(done["task"]))
    rows: list[dict[str, object]] = []
    for task in [*tasks, *([ALL_TASKS] if len(tasks) > 1 else [])]:
        asked = done if task == ALL_TASKS else done[done["task"] == task]
        for base, cells in asked[asked["base"] != ""].groupby("base", sort=False):
            rows += _block(str(base), task, cells)
    return pd.DataFrame(rows, columns=COLUMNS)


def _block(base: str, task: str, cells: pd.DataFrame) -> list[dict[str, object]]:
    """The rows of the strategies among `cells` that meet the baseline `base` on a task."""
    indexed = {
        name: cell.set_index(["task", "doc_id"]) for name, cell in cells.groupby("strategy", sort=False)
    }
    if base not in indexed:
        return []
    yardstick = indexed.pop(base)
    block = []
    for strategy, cell in indexed.items():
        row: dict[str, object] = {"strategy": strategy, "task": task, **compare_pair(yardstick, cell)}
        if set(cell["run"]) != set(yardstick["run"]):
            row |= dict.fromkeys(("tps_ratio", "tps_ratio_low", "tps_ratio_high"), math.nan)
        block.append(row)
    adjusted = statistics.holm([float(str(row["p"])) for row in block])
    for row, p in zip(block, adjusted, strict=True):
        row["p_holm"], row["verdict"] = p, verdict(float(str(row["difference"])), p)
    return block


def detectable(samples: pd.DataFrame, comparisons: pd.DataFrame) -> dict[str, statistics.Detectable]:
    """What each task can show, by its number of problems and the share that strategies answer differently."""
    found = {}
    for task, cell in samples[samples["correct"].notna()].groupby("task", sort=False):
        pairs = comparisons[(comparisons["task"] == task) & (comparisons["n"] > 0)]
        share = ((pairs["gained"] + pairs["lost"]) / pairs["n"]).median() if len(pairs) else math.nan
        found[str(task)] = statistics.minimum_detectable(int(cell["doc_id"].nunique()), float(share))
    return found
