"""Speed-accuracy curves: Pareto frontier, areas under a curve, and a setting's choice on a tune split."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from results.errors import ResultsError
from results.metrics import baseline_of, oracle_of, summarise, yardsticks

AUP_ALPHA = 3.0
AUP_DROP = 5.0
# " (" begins a merged run's name.
_NUMBER = re.compile(r"=[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(?=[,+@]| \(|$)")

Point = tuple[float, float]


def pareto(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other beats in both coordinates (more is better), by rising first one.

    Of equal points the first is kept; points with a NaN take no part.
    """
    usable = [i for i, (x, y) in enumerate(points) if math.isfinite(x) and math.isfinite(y)]
    frontier: list[int] = []
    best = -math.inf
    for i in sorted(usable, key=lambda i: (-points[i][0], -points[i][1], i)):
        if points[i][1] > best:
            frontier.append(i)
            best = points[i][1]
    return frontier[::-1]


def aup_d3llm_v1(points: Sequence[Point], y_max: float) -> float:
    """Accuracy under parallelism as d3LLM's published code computes it (its `get_aup`, alpha 3, offset 5).

    Args:
        points: (TPF, accuracy in percent) of one method on one task, in any order.
        y_max: the best accuracy in percent of every method in the pool; the value depends on that pool, so it
            means nothing without it.

    Raises:
        ResultsError: no point, a TPF that is not above 0, or (where the published code aborts) an accuracy at
            the highest TPF that lies more than 5 points under that at the lowest.
    """
    ordered = sorted(points, key=lambda point: point[0])
    if not ordered or not all(rho > 0 for rho, _ in ordered):
        raise ResultsError("AUP needs at least one point, each with a TPF above 0")
    if ordered[0][1] - ordered[-1][1] > AUP_DROP:
        raise ResultsError(
            f"AUP is undefined: accuracy falls by more than {AUP_DROP:g} points along the curve"
        )
    kept = [(rho, y) for rho, y in ordered if y >= ordered[0][1] - AUP_DROP]

    def weighted(y: float) -> float:
        return y * min(math.exp(-AUP_ALPHA * (1 - y / y_max)), 1.0)

    area = kept[0][0] * kept[0][1]
    for (rho_a, y_a), (rho_b, y_b) in pairwise(kept):
        area += 0.5 * (rho_b - rho_a) * (weighted(y_a) + weighted(y_b))
    return area


def plain_area(points: Sequence[Point]) -> float:
    """Area under accuracy (in percent) over TPF: AUP's form without weights and without dropping points.

    It depends on the curve's own points alone, so it stays the same whatever it is compared with.
    """
    ordered = sorted(points)
    if not ordered:
        return math.nan
    area = ordered[0][0] * ordered[0][1]
    for (rho_a, y_a), (rho_b, y_b) in pairwise(ordered):
        area += 0.5 * (rho_b - rho_a) * (y_a + y_b)
    return area


def hypervolume(points: Sequence[Point], reference: Point = (0.0, 0.0)) -> float:
    """Area that the points dominate down to the reference: the union of their rectangles."""
    area, floor = 0.0, reference[1]
    for i in reversed(pareto(points)):
        x, y = points[i]
        if x > reference[0] and y > floor:
            area += (x - reference[0]) * (y - floor)
            floor = y
    return area


def family(spec: str) -> str:
    """A spec with its numbers left out: what the settings of one sweep have in common."""
    return _NUMBER.sub("=*", spec)


def families(specs: Sequence[str]) -> dict[str, list[str]]:
    """The sweeps among the specs: every family that has at least two members, with them, in order.

    `confidence` counts as a member of the family `confidence:threshold=*` when such a sweep is there, as a
    default value is left out of a spec's canonical form.
    """
    groups: dict[str, list[str]] = {}
    for spec in dict.fromkeys(specs):
        if "=" in family(spec) and "*" in family(spec):
            groups.setdefault(family(spec), []).append(spec)
    for name, members in groups.items():
        bare = re.sub(r":[^:+@,=]+=\*(?=[+@]| \(|$)", "", name)
        if bare != name and bare in specs:
            members.append(bare)
    return {name: members for name, members in groups.items() if len(members) > 1}


@dataclass(frozen=True)
class Curve:
    """One strategy family on one task: its settings by rising TPF and the areas under them.

    `aup_d3llm_v1` is NaN with the reason in `note` where the published code would abort. `pool_best` is the
    best accuracy in percent among `pool`, the strategies of the same run and task.
    """

    family: str
    task: str
    specs: tuple[str, ...]
    points: tuple[Point, ...]
    aup_d3llm_v1: float
    plain_area: float
    hypervolume: float
    pool_best: float
    pool: tuple[str, ...]
    note: str = ""


def curves(summary: pd.DataFrame) -> list[Curve]:
    """Every curve of a run, single settings too (as d3LLM's leaderboard does), a task after the other.

    The oracle is left out of the pool: it knows the answers of the reference decode and is no method.
    """
    found = []
    for task, cells in summary.groupby("task", sort=False):
        cells = cells[cells["accuracy"].notna() & (cells["tpf_eos"] > 0)].set_index("strategy")
        pool = tuple(spec for spec in cells.index if not str(spec).startswith("oracle"))
        if not pool:
            continue
        best = 100 * cells.loc[list(pool), "accuracy"].to_numpy(dtype=float).max()
        sweeps = families(pool)
        inside = {spec for members in sweeps.values() for spec in members}
        for name, members in [*sweeps.items(), *((spec, [spec]) for spec in pool if spec not in inside)]:
            found.append(_curve(name, str(task), members, cells, best, pool))
    return found


def _curve(
    name: str, task: str, members: list[str], cells: pd.DataFrame, best: float, pool: tuple[str, ...]
) -> Curve:
    ordered = sorted(members, key=lambda spec: (cells.at[spec, "tpf_eos"], spec))
    chosen = cells.loc[ordered, ["tpf_eos", "accuracy"]].to_numpy(dtype=float)
    points = tuple((float(tpf), 100 * float(accuracy)) for tpf, accuracy in chosen)
    try:
        aup, note = aup_d3llm_v1(points, best) if best > 0 else math.nan, ""
    except ResultsError as error:
        aup, note = math.nan, str(error)
    areas = (plain_area(points), hypervolume(points))
    return Curve(name, task, tuple(ordered), points, aup, *areas, best, pool, note)


def in_tune_split(doc_id: int, fraction: float, seed: int = 0) -> bool:
    """Whether a problem belongs to the tune split: by a hash of its number, so it never changes sides."""
    digest = hashlib.sha256(f"{seed}:{doc_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


@dataclass(frozen=True)
class Tuned:
    """The setting of a sweep that was picked on the tune split of a task, and why."""

    family: str
    task: str
    strategy: str
    tune_n: int
    tune_accuracy: float
    tune_tpf: float

    def sentence(self, tested: pd.DataFrame) -> str:
        """What was picked and what it does on the problems of `tested` (`tune`'s second value)."""
        text = (
            f"{self.task}: {self.strategy} was picked on {self.tune_n} tuning problems "
            f"(accuracy {100 * self.tune_accuracy:.1f} %, TPF {self.tune_tpf:.2f}); "
        )
        rows = tested[(tested["task"] == self.task) & (tested["strategy"] == self.strategy)]
        if rows.empty or not math.isfinite(rows.iloc[0]["accuracy"]):
            return text + "there is no other problem to report it on."
        row = rows.iloc[0]
        low, high = 100 * row["accuracy_low"], 100 * row["accuracy_high"]
        return (
            f"{text}on the other {row['n']} it has {100 * row['accuracy']:.1f} % "
            f"({low:.1f}–{high:.1f}), TPF {row['tpf_eos']:.2f}."
        )


def tune(
    samples: pd.DataFrame, fraction: float, *, tolerance: float = 0.01, seed: int = 0
) -> tuple[list[Tuned], pd.DataFrame]:
    """Pick each sweep's setting a task on the tune split and summarise those picked on the other problems.

    Picked is the setting of the highest tpf_eos among those whose accuracy on the tune split is at most
    `tolerance` under the sweep's best. Strategies outside any sweep are summarised on the same test split, as
    are the baseline and the oracle, which the others' speed-ups and shares refer to.

    Args:
        samples: as `results.metrics.to_frame` gives it.
        fraction: share of the problems to tune on, between 0 and 1.

    Raises:
        ResultsError: the fraction is not between 0 and 1, or one of the splits has no problem.
    """
    if not 0 < fraction < 1:
        raise ResultsError(f"--tune-fraction is {fraction:g}; give a share between 0 and 1")
    inside = samples["doc_id"].map(lambda doc_id: in_tune_split(doc_id, fraction, seed)).astype(bool)
    if inside.all() or not inside.any():
        raise ResultsError(
            f"--tune-fraction {fraction:g} of these problems leaves one side empty; raise --limit"
        )
    specs = list(dict.fromkeys(samples["strategy"]))
    sweeps = families(specs)
    kept = {name for pick in (baseline_of, oracle_of) for name in yardsticks(samples, pick).values()}
    measured = summarise(samples[inside]).set_index(["strategy", "task"])
    picked, dropped = [], set()
    for name, members in sweeps.items():
        for task in dict.fromkeys(samples["task"]):
            cells = measured.loc[[(spec, task) for spec in members if (spec, task) in measured.index]]
            cells = cells[cells["accuracy"].notna() & cells["tpf_eos"].notna()]
            if cells.empty:  # nothing was picked here, so no setting of the sweep is reported either
                dropped |= {(spec, task) for spec in members if spec not in kept}
                continue
            good = cells[cells["accuracy"] >= cells["accuracy"].max() - tolerance - 1e-12]
            strategy, _ = good["tpf_eos"].idxmax()
            cell = good.loc[(strategy, task)]
            picked.append(
                Tuned(
                    name,
                    str(task),
                    str(strategy),
                    int(cell["n"]),
                    float(cell["accuracy"]),
                    float(cell["tpf_eos"]),
                )
            )
            dropped |= {(spec, task) for spec in members if spec != strategy and spec not in kept}
    keys = pd.Series(list(zip(samples["strategy"], samples["task"], strict=True)), index=samples.index)
    return picked, summarise(samples[~inside & ~keys.isin(dropped)])
