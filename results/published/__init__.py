"""What the papers and their repositories report, to stand beside what a run measures.

Each CSV row is one published result with its source. Accuracy is in percent as printed there; `strategy` is
the spec that means the same here, empty where none does or where the source does not say which cache it used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import pandas as pd

FIGURES = ("accuracy", "nfe", "tpf", "tps", "latency_s", "speedup")
_TEXTS = ("model", "task", "protocol", "method", "strategy", "settings", "hardware", "source")
JOINED_COLUMNS = (
    "strategy",
    "task",
    *(f"{side}_{name}" for name in FIGURES for side in ("published", "measured")),
    "differs",
    "source",
)


def load() -> pd.DataFrame:
    """Every published row; accuracy as a share of 1, `benchmark` the task's family (gsm8k, math, ...)."""
    tables = [
        pd.read_csv(path.open(encoding="utf-8"), dtype=dict.fromkeys(_TEXTS, str), keep_default_na=False)
        for path in sorted(resources.files(__package__).iterdir(), key=lambda path: path.name)
        if path.name.endswith(".csv")
    ]
    table = pd.concat(tables, ignore_index=True)
    for name in (*FIGURES, "shots", "gen_length", "block_length"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    table["accuracy"] = (table["accuracy"] / 100).round(6)
    table["benchmark"] = table["task"].map(benchmark)
    return table


def benchmark(task: str) -> str:
    """The benchmark that a task asks, whatever the wording: gsm8k, math, humaneval, mbpp, else the task."""
    if task.startswith("demo-"):
        return task
    return next((name for name in ("gsm8k", "humaneval", "mbpp", "math") if name in task), task)


def model_key(model: object) -> str:
    """A model's name as the tables write it, from a catalog name, a hub id or a directory; else as given."""
    name = re.sub(r"@[^@]*$", "", str(model)).rstrip("/").rsplit("/", 1)[-1].lower().replace("_", "-")
    if name == "llada-1.5":
        return "LLaDA-1.5"
    found = re.fullmatch(r"(llada|dream)(-v0)?(-(8b|7b|instruct|base))+", name)
    if not found or {"8b": "llada", "7b": "dream"}.get(_size(name)) != found.group(1):
        return str(model)
    kind = "Base" if "base" in name else "Instruct"
    return {"llada": f"LLaDA-8B-{kind}", "dream": f"Dream-7B-{kind}"}[found.group(1)]


def _size(name: str) -> str:
    return next((size for size in ("8b", "7b") if size in name.split("-")), "")


def protocol_of(config: Mapping[str, Any]) -> str | None:
    """The name of a run's protocol, None where its config does not say."""
    protocol = config.get("protocol")
    return protocol.get("name") if isinstance(protocol, Mapping) else protocol


def parts_of(spec: str) -> str:
    """A spec's parts without their values: `factor:factor=0.75+prefix-cache` is `factor+prefix-cache`."""
    return re.sub(r":[^+@]*", "", spec)


def join(summary: pd.DataFrame, config: Mapping[str, Any], environment: Mapping[str, Any]) -> pd.DataFrame:
    """Published rows beside the measured ones of the same model, benchmark and strategy.

    `differs` lists every known setting in which the run departs from the source; the nearest come first.
    """
    ours = summary.assign(benchmark=summary["task"].map(benchmark), parts=summary["strategy"].map(parts_of))
    theirs = load()
    theirs = theirs[(theirs["model"] == model_key(config.get("model"))) & (theirs["strategy"] != "")]
    found = []
    for _, row in ours.iterrows():
        same = theirs[theirs["benchmark"] == row["benchmark"]]
        for _, paper in same[same["strategy"].map(parts_of) == row["parts"]].iterrows():
            entry = {"strategy": row["strategy"], "task": row["task"], "source": _source(paper)}
            for name in FIGURES:
                entry[f"published_{name}"] = paper[name]
                entry[f"measured_{name}"] = row["tpf_scored" if name == "tpf" else name]
            entry["differs"] = "; ".join(_differences(row, paper, config, environment))
            found.append(entry)
    found.sort(key=lambda entry: len(entry["differs"].split("; ")) if entry["differs"] else 0)
    return pd.DataFrame(found, columns=list(JOINED_COLUMNS))


def _source(paper: pd.Series) -> str:
    """The source, with the method's name there where it is not ours, and its hardware where it is stated."""
    named = "" if paper["method"] == paper["strategy"] else f"{paper['method']}, "
    return f"{named}{paper['source']}" + (f", {paper['hardware']}" if paper["hardware"] else "")


def _differences(
    row: pd.Series, paper: pd.Series, config: Mapping[str, Any], environment: Mapping[str, Any]
) -> list[str]:
    """Each known difference as `what: there, here here`; what the source does not state is not compared."""
    task, found = row["task"], []
    if paper["task"] != task:
        found.append(f"task: {paper['task']} there")
    protocol = protocol_of(config)
    if paper["protocol"] and protocol and paper["protocol"] != protocol:
        found.append(f"protocol: {paper['protocol']} there, {protocol} here")
    for name in ("gen_length", "block_length", "shots"):
        here = config.get(name)
        here = here.get(task) if isinstance(here, Mapping) else here
        if here is not None and pd.notna(paper[name]) and int(paper[name]) != here:
            found.append(f"{name}: {int(paper[name])} there, {here} here")
    if paper["strategy"] != row["strategy"]:
        found.append(f"strategy: {paper['strategy']} there")
    if paper["settings"]:
        found.append(f"there {paper['settings']}")
    if config.get("limit") not in (None, "all"):
        found.append(f"only {config['limit']} problems here")
    device = environment.get("gpu") or environment.get("device")
    if paper["hardware"] and device and paper["hardware"].split()[0].lower() not in str(device).lower():
        found.append(f"hardware: {paper['hardware']} there, {device} here")
    return found


def points(summary: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """Published results of the run's own model, protocol and lengths, to be drawn beside its own.

    Columns: task (the run's name for it), strategy (the method's published name), accuracy, tpf_eos, nfe,
    tps, speedup, hardware, source.
    """
    table = load()
    protocol = protocol_of(config)
    table = table[(table["model"] == model_key(config.get("model"))) & (table["protocol"] == protocol)]
    found = []
    for task in dict.fromkeys(summary["task"]):
        rows = table[table["task"] == task]
        if rows.empty:
            rows = table[table["benchmark"] == benchmark(str(task))]
        lengths = config.get("gen_length")
        here = lengths.get(task) if isinstance(lengths, Mapping) else lengths
        if here is not None:
            rows = rows[rows["gen_length"].isna() | (rows["gen_length"] == here)]
        found.append(rows.assign(task=task))
    columns = ["task", "method", "accuracy", "tpf", "nfe", "tps", "speedup", "hardware", "source"]
    merged = pd.concat(found)[columns] if found else pd.DataFrame(columns=columns)
    return merged.rename(columns={"tpf": "tpf_eos", "method": "strategy"}).reset_index(drop=True)
