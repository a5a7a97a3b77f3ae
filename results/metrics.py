"""Every figure of summary.csv, defined once; a figure that cannot be had is NaN, never 0.

* accuracy: share of correct answers among the samples that were decoded and scored, from 0 to 1.
* nfe, refresh_nfe, query_tokens, latency_s, flops: means over samples (a sample's seconds are its share of
  the batch it was decoded in; tokenising, scoring and warm-up are not in them).
* tpf_raw, tpf_eos, tpf_scored: sum of tokens / sum of forwards, the tokens being the whole generation length,
  those before the first end of text, and those left after the stop strings.
* tps: sum of tokens before the first end of text / sum of seconds, never a mean of ratios.
* speedup: seconds a sample of the baseline / seconds a sample of this strategy, on the problems both decoded
  in the same run.
* oracle_share: tpf_eos / the oracle's tpf_eos, on the problems both decoded in the same run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from results.records import MEASURED, SampleRecord
from results.statistics import wilson

NUMERATORS = ("raw", "eos", "scored")
SUMMARY_COLUMNS = [
    "strategy",
    "task",
    "n",
    "failed",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "nfe",
    "refresh_nfe",
    "query_tokens",
    "tpf_raw",
    "tpf_eos",
    "tpf_scored",
    "tps",
    "latency_s",
    "speedup",
]
EXTRA_COLUMNS = ["speedup_baseline", "oracle_share", "flops", "tokens_eos", "peak_memory_bytes", "batch_size"]
_NAMED = ["strategy", "task", "doc_id", "status", "correct"]
Pick = Callable[[Sequence[str]], str | None]


def to_frame(records: Iterable[SampleRecord]) -> pd.DataFrame:
    """One row a record with what is counted; unknown numbers are NaN, `correct` is 1.0, 0.0 or NaN.

    The columns spec, run and like say where merged runs' samples come from (`results.runs.Origin`); here all
    are of one run. Texts stay outside: a frame's strings cannot hold every text that a model may write.
    """
    names = [*_NAMED, *MEASURED]
    frame = pd.DataFrame([[getattr(record, name) for name in names] for record in records], columns=names)
    for name in MEASURED:
        frame[name] = pd.to_numeric(frame[name], errors="coerce").astype("float64")
    frame["correct"] = pd.to_numeric(frame["correct"], errors="coerce").astype("float64")
    return frame.assign(spec=frame["strategy"], run=0, like=0)


def baseline_of(strategies: Sequence[str]) -> str | None:
    """The strategy that speed-ups are relative to: fixed decoding at full length, without cache or adapter.

    That is `fixed`, else the first `fixed:...` that names neither its number of steps nor a further part.
    """
    if "fixed" in strategies:
        return "fixed"
    plain = re.compile(r"fixed:(?!.*\bsteps=)[^+@]*$")
    return next((each for each in strategies if plain.match(each)), None)


def oracle_of(strategies: Sequence[str]) -> str | None:
    """The uncached oracle, whose TPF no rule can exceed without changing its answers, where it was run."""
    return next((each for each in strategies if re.match(r"oracle(:[^+@]*)?$", each)), None)


def yardsticks(samples: pd.DataFrame, pick: Pick) -> dict[int, str]:
    """For each run among the samples the strategy (its name here) that `pick` chooses of the run's own."""
    found = {}
    for run, rows in samples.groupby("run"):
        names = dict(zip(rows["spec"], rows["strategy"], strict=True))
        chosen = pick(list(names))
        if chosen is not None:
            found[int(str(run))] = names[chosen]
    return found


def summarise(samples: pd.DataFrame) -> pd.DataFrame:
    """One row a strategy x task, in order of first appearance; see the module's definitions.

    `samples` is as `to_frame` gives it. Speed-up and oracle's share refer to the same run's `baseline_of` and
    `oracle_of`.
    """
    if samples.empty:
        return pd.DataFrame(columns=[*SUMMARY_COLUMNS, *EXTRA_COLUMNS])
    bases, oracles = yardsticks(samples, baseline_of), yardsticks(samples, oracle_of)
    done = samples[samples["status"] == "ok"]
    cells = {key: cell.set_index("doc_id") for key, cell in done.groupby(["strategy", "task"], sort=False)}
    empty = done.iloc[:0].set_index("doc_id")
    rows = []
    for (strategy, task), cell in samples.groupby(["strategy", "task"], sort=False):
        finished = cells.get((strategy, task), empty)
        row = _cell(str(strategy), str(task), len(cell), finished)
        run = int(cell["run"].iloc[0])
        against = cells.get((bases.get(run), task))
        row["speedup"] = math.nan if against is None else _speedup(against, finished)
        row["speedup_baseline"] = bases[run] if against is not None else ""
        bound = cells.get((oracles.get(run), task))
        row["oracle_share"] = math.nan if bound is None else _oracle_share(bound, finished)
        rows.append(row)
    return pd.DataFrame(rows)[[*SUMMARY_COLUMNS, *EXTRA_COLUMNS]]


def _cell(strategy: str, task: str, n: int, finished: pd.DataFrame) -> dict[str, object]:
    judged = finished["correct"].dropna()
    accuracy = wilson(int(judged.sum()), len(judged))
    row: dict[str, object] = {
        "strategy": strategy,
        "task": task,
        "n": n,
        "failed": n - len(finished),
        "accuracy": accuracy.value,
        "accuracy_low": accuracy.low,
        "accuracy_high": accuracy.high,
    }
    for name in ("nfe", "refresh_nfe", "query_tokens", "latency_s", "flops", "tokens_eos"):
        row[name] = finished[name].mean()
    for name in NUMERATORS:
        row[f"tpf_{name}"] = sum_ratio(finished[f"tokens_{name}"], finished["nfe"])
    row["tps"] = sum_ratio(finished["tokens_eos"], finished["latency_s"])
    row["peak_memory_bytes"] = finished["peak_memory_bytes"].max()
    row["batch_size"] = finished["batch_size"].max()
    return row


def sum_ratio(numerator: pd.Series, denominator: pd.Series) -> float:
    """Sum over sum, of the samples that have both; NaN where none has or the denominator is 0."""
    both = numerator.notna() & denominator.notna()
    total = float(denominator[both].sum())
    return float(numerator[both].sum()) / total if total > 0 else math.nan


def _shared(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    common = a.index.intersection(b.index)
    return a.loc[common], b.loc[common]


def _speedup(base: pd.DataFrame, cell: pd.DataFrame) -> float:
    ours, theirs = _shared(cell, base)
    return sum_ratio(theirs["latency_s"], ours["latency_s"])


def _oracle_share(oracle: pd.DataFrame, cell: pd.DataFrame) -> float:
    ours, bound = _shared(cell, oracle)
    best = sum_ratio(bound["tokens_eos"], bound["nfe"])
    return sum_ratio(ours["tokens_eos"], ours["nfe"]) / best if best > 0 else math.nan


def mean_over_tasks(summary: pd.DataFrame) -> pd.DataFrame:
    """Plain means over the tasks, a row a strategy that was run on every task; `tasks` counts them.

    Accuracy bounds come from the variance of the tasks' Wilson intervals (their half-widths combined as
    independent), so they are the bounds of this set of tasks, not of tasks at large.
    """
    if summary.empty:
        return summary.assign(tasks=[])
    tasks = summary["task"].nunique()
    rows = []
    for strategy, cells in summary.groupby("strategy", sort=False):
        if len(cells) < tasks:
            continue
        row: dict[str, object] = {"strategy": strategy, "task": "mean", "tasks": tasks}
        row["n"], row["failed"] = int(cells["n"].sum()), int(cells["failed"].sum())
        for name in summary.columns:
            if name not in row and pd.api.types.is_numeric_dtype(summary[name]):
                row[name] = cells[name].mean(skipna=False)
        for side, name in ((-1, "accuracy_low"), (1, "accuracy_high")):
            reach = np.sqrt(((cells[name] - cells["accuracy"]) ** 2).sum()) / tasks
            row[name] = cells["accuracy"].mean(skipna=False) + side * reach
        row["speedup_baseline"] = cells["speedup_baseline"].iloc[0]
        rows.append(row)
    return pd.DataFrame(rows, columns=[*summary.columns, "tasks"])
