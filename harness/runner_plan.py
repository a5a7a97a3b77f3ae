"""What a run will do: which strategies its model can run, on which problems, checked before weights load."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.models.adapters import CONFIG as ADAPTER_CONFIG
from harness.models.adapters import find_adapter
from harness.models.catalog import entry_of, locate
from harness.models.config import ModelConfig
from harness.models.tokenizer import Tokenizer
from harness.prepare import FILTER, prepare_for
from harness.response import prompt_ids
from harness.run_config import RunConfig
from harness.tasks import Problem, Task, load_task
from harness.tasks.protocols import load_protocol
from strategies import ALL, SpecError, Strategy, parse

DREAM_PROTOCOL = "dparallel-dream"
ENDS = 1 << 20  # bytes hashed at either end of a weight file


@dataclass(frozen=True)
class Suite:
    """A task's problems for this run. prompts: token ids, one list a problem."""

    task: Task
    problems: Sequence[Problem]
    prompts: Sequence[list[int]]
    gen_length: int
    block_length: int


@dataclass(frozen=True)
class Cell:
    """The unit of work: one strategy, ready to decode, on one suite."""

    strategy: Strategy
    suite: Suite

    @property
    def name(self) -> str:
        return f"{self.strategy.spec} on {self.suite.task.name}"


@dataclass(frozen=True)
class Plan:
    """strategies: those that run, in the order of the results. dropped: spec -> why `all` leaves it out."""

    strategies: tuple[Strategy, ...]
    dropped: dict[str, str]
    suites: tuple[Suite, ...]

    def weights(self) -> list[str | None]:
        """The adapters to decode with, None for the base weights, each once."""
        return list(dict.fromkeys(strategy.adapter for strategy in self.strategies))

    def cells(self, adapter: str | None, model_dir: Path) -> list[Cell]:
        """The cells of one set of weights: suite by suite, what imitates a reference decode last."""
        mine = [strategy for strategy in self.strategies if strategy.adapter == adapter]
        mine.sort(key=lambda strategy: strategy.unmask.needs_reference)
        return [
            Cell(prepare_for(strategy, model_dir, suite.gen_length, suite.block_length), suite)
            for suite in self.suites
            for strategy in mine
        ]


def load_suites(config: RunConfig, tokenizer: Tokenizer, model: ModelConfig) -> tuple[Suite, ...]:
    """Every task's problems with their prompts as token ids.

    Raises UserError for an unknown task or protocol, missing data, and a prompt that with the generation
    length exceeds the model's context.
    """
    suites = []
    for name in dict.fromkeys(config.tasks):
        task = load_task(
            name,
            protocol=config.protocol or family_protocol(model.family, name),
            data_dir=config.data,
            allow_unsandboxed=config.allow_unsandboxed_code,
            options=config.option,
        )
        gen_length = config.length("gen_length", name) or task.gen_length
        block_length = config.length("block_length", name) or min(task.block_length, gen_length)
        problems = task.problems(config.problem_limit)
        prompts = [
            prompt_ids(tokenizer, problem.prompt, chat=problem.chat, prefix=problem.prefix)
            for problem in problems
        ]
        for problem, prompt in zip(problems, prompts, strict=True):
            if len(prompt) + gen_length > model.max_length:
                raise UserError(
                    f"{name} problem {problem.doc_id}: its prompt has {len(prompt)} tokens; with generation"
                    f" length {gen_length} it exceeds the model's context of {model.max_length};"
                    " lower --gen-length or leave the task out"
                )
        suites.append(Suite(task, problems, prompts, gen_length, block_length))
    return tuple(suites)


def family_protocol(family: str, task: str) -> str | None:
    """dParallel evaluated Dream under its own prompts; elsewhere the task's default protocol holds."""
    return DREAM_PROTOCOL if family == "dream" and task in load_protocol(DREAM_PROTOCOL).tasks else None


def choose_strategies(
    config: RunConfig, model_dir: Path, suites: Sequence[Suite]
) -> tuple[tuple[Strategy, ...], dict[str, str]]:
    """The strategies to run and, of those that only `all` names, which cannot run here and why.

    A sweep's setting that is a strategy already there under a shorter name (its default) is not run again.

    Raises UserError or SpecError for a strategy that is named itself and cannot run.
    """
    wanted = dict.fromkeys(spec for spec in config.specs if spec != "all")
    again = set(config.swept) - set(config.named)
    chosen: dict[str, Strategy] = {}
    dropped: dict[str, str] = {}
    for spec in dict.fromkeys([*(ALL if "all" in config.specs else ()), *wanted]):
        strategy = parse(spec)
        try:
            check_strategy(strategy, config, model_dir, suites)
        except (UserError, SpecError) as error:
            if spec in wanted:
                raise
            dropped[spec] = _reason(strategy, error)
            continue
        if spec in again and strategy.expanded in {each.expanded for each in chosen.values()}:
            continue
        chosen[spec] = strategy
    if not chosen:
        spec, reason = next(iter(dropped.items()))
        raise UserError(f"none of the strategies of `all` can run with these settings; {spec}: {reason}")
    return tuple(chosen.values()), dropped


def check_strategy(strategy: Strategy, config: RunConfig, model_dir: Path, suites: Sequence[Suite]) -> None:
    """Raise UserError or SpecError where the model lacks what it needs, or a length is impossible."""
    entry = entry_of(config.model)
    if strategy.adapter and entry and strategy.adapter in entry.merged:
        locate(entry.merged[strategy.adapter])
    elif strategy.adapter:
        find_adapter(model_dir, strategy.adapter)
    for suite in suites:
        prepare_for(strategy, model_dir, suite.gen_length, suite.block_length)


def _reason(strategy: Strategy, error: Exception) -> str:
    if strategy.adapter and isinstance(error, UserError) and "adapter" in str(error):
        return f"the model has no adapter {strategy.adapter}"
    if "needs a filter" in str(error):
        return f"the model has no {FILTER}"
    return str(error)


def fingerprints(plugins: Iterable[str], model_dir: Path, strategies: Iterable[Strategy]) -> dict[str, str]:
    """A digest of every file that decides results: the model's, used adapters', filters', plug-ins."""
    files = {path.name: path for path in sorted(model_dir.glob("*.safetensors*")) if path.name != FILTER}
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        files[name] = model_dir / name
    for strategy in strategies:
        filter_path = getattr(strategy.unmask, "filter", None)
        if hasattr(strategy.unmask, "filter"):
            files[filter_path or FILTER] = Path(filter_path) if filter_path else model_dir / FILTER
        if strategy.adapter:
            folder = next(
                (
                    p
                    for p in (model_dir / "adapters" / strategy.adapter, Path(strategy.adapter))
                    if p.is_dir()
                ),
                None,
            )
            for name in (ADAPTER_CONFIG, "adapter_model.safetensors") if folder else ():
                files[f"{strategy.adapter}/{name}"] = folder / name  # type: ignore[operator]
    for plugin in plugins:
        files[f"plugin {Path(plugin).name}"] = Path(plugin)
    return {name: _digest(path) for name, path in files.items() if path.is_file()}


def _digest(path: Path) -> str:
    """16 hex digits of a file's size and of its first and last mebibyte: enough to tell checkpoints apart."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        content = handle.read(ENDS)
        if size > ENDS:
            handle.seek(max(ENDS, size - ENDS))
            content += handle.read(ENDS)
    return hashlib.sha256(size.to_bytes(8, "little") + content).hexdigest()[:16]


def settings(config: RunConfig, plan: Plan, model: ModelConfig, **resolved: Any) -> dict[str, Any]:
    """What config.yaml says: every option as it was resolved, with the hash of each task's protocol.

    resolved: dtype, device, batch_size, model_files and started, as this machine settled them.
    """
    protocols = {suite.task.name: suite.task.protocol for suite in plan.suites}
    hashes = {name: protocol.hash for name, protocol in protocols.items()}
    names = list(dict.fromkeys(protocol.name for protocol in protocols.values()))
    joint = hashlib.sha256("".join(sorted(set(hashes.values()))).encode()).hexdigest()[:16]
    return {
        "schema_version": 1,
        "model": config.model,
        "model_family": model.family,
        "strategies": [strategy.spec for strategy in plan.strategies],
        "dropped": plan.dropped,
        "tasks": [suite.task.name for suite in plan.suites],
        "limit": "all" if config.problem_limit is None else config.problem_limit,
        "gen_length": {suite.task.name: suite.gen_length for suite in plan.suites},
        "block_length": {suite.task.name: suite.block_length for suite in plan.suites},
        "shots": {suite.task.name: suite.task.settings.shots for suite in plan.suites},
        "seed": config.seed,
        "temperature": config.temperature,
        "data": str(config.data) if config.data else None,
        "protocol": {
            "name": config.protocol or (names[0] if len(names) == 1 else None),
            "hash": joint if len(names) > 1 else next(iter(hashes.values())),
        },
        "protocol_hashes": hashes,
        "trace": config.trace,
        "plugin": list(config.plugin),
        "tune_fraction": config.tune_fraction,
        "option": sorted(config.option),
        "allow_unsandboxed_code": config.allow_unsandboxed_code,
        **resolved,
    }
