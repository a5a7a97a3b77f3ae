"""Every strategy against one baseline on the same problems: what changed, how surely, and in one word."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from results import statistics
from results.metrics import baseline_of

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


def against_baseline(samples: pd.DataFrame, baseline: str | None = None) -> pd.DataFrame:
    """A row a strategy x task other than the baseline, and one over all tasks' problems (task `all`).

    p_holm is Holm's adjustment over the strategies that meet the baseline on the same task; the verdict is
    read from it. Without a baseline in the samples the table is empty.
    """
    done = samples[samples["status"] == "ok"]
    strategies = list(dict.fromkeys(done["strategy"]))
    base = baseline if baseline is not None else baseline_of(strategies)
    if base is None or base not in strategies:
        return pd.DataFrame(columns=COLUMNS)
    indexed = {
        name: cell.set_index(["task", "doc_id"]) for name, cell in done.groupby("strategy", sort=False)
    }
    tasks = list(dict.fromkeys(done["task"]))
    rows = []
    for task in [*tasks, *([ALL_TASKS] if len(tasks) > 1 else [])]:
        block = []
        for strategy in strategies:
            if strategy == base:
                continue
            pair = [_of_task(indexed[name], task) for name in (base, strategy)]
            if len(pair[0]) and len(pair[1]):
                block.append({"strategy": strategy, "task": task, **compare_pair(*pair)})
        adjusted = statistics.holm([float(row["p"]) for row in block])
        for row, p in zip(block, adjusted, strict=True):
            row["p_holm"], row["verdict"] = p, verdict(float(row["difference"]), p)
        rows += block
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_task(frame: pd.DataFrame, task: str) -> pd.DataFrame:
    return frame if task == ALL_TASKS else frame[frame.index.get_level_values(0) == task]


def detectable(samples: pd.DataFrame, comparisons: pd.DataFrame) -> dict[str, statistics.Detectable]:
    """What each task can show, by its number of problems and the share that strategies answer differently."""
    found = {}
    for task, cell in samples[samples["correct"].notna()].groupby("task", sort=False):
        pairs = comparisons[(comparisons["task"] == task) & (comparisons["n"] > 0)]
        share = ((pairs["gained"] + pairs["lost"]) / pairs["n"]).median() if len(pairs) else math.nan
        found[str(task)] = statistics.minimum_detectable(int(cell["doc_id"].nunique()), float(share))
    return found
