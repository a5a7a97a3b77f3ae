"""The main job: every strategy on every suite, decoded, scored and kept, whatever interrupts it."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import environment
from harness.errors import UserError
from harness.models.catalog import locate
from harness.models.loading import LoadedModel, load_model, pick_device, pick_dtype, read_config
from harness.models.tokenizer import Tokenizer, load_tokenizer
from harness.progress import Display
from harness.run_config import RunConfig
from harness.runner_cell import CellRun
from harness.runner_decode import Context, free_memory, warm_up
from harness.runner_plan import (
    Cell,
    Plan,
    choose_strategies,
    fingerprints,
    load_suites,
    settings,
)
from harness.runner_stop import Stopped, StopRequest
from harness.runner_store import RunStore
from harness.sandbox import choose_backend
from harness.tasks import Score
from results import write_outputs
from results.records import SampleRecord
from strategies.plugins import load_entry_points, load_file

CPU_BATCH, GPU_BATCH = 16, 32


@dataclass(frozen=True)
class Outcome:
    """How a run ended. stopped: the signal that ended it early, else None; paths: the files it wrote."""

    directory: Path
    records: list[SampleRecord]
    paths: dict[str, Path]
    seconds: float
    stopped: str | None = None

    @property
    def failed(self) -> int:
        return sum(record.status == "failed" for record in self.records)


def run(config: RunConfig, *, outputs: bool = True) -> Outcome:
    """Do what `config` asks for, continuing what its output directory already holds.

    outputs: whether tables, figures and the report are written at the end (the samples always are).

    Raises UserError, SpecError or ResultsError for whatever the user can mend, before anything is decoded
    wherever that can be known.
    """
    load_entry_points()
    for plugin in config.plugin:
        load_file(plugin)
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    model_dir = locate(config.model)
    tokenizer = load_tokenizer(model_dir)
    model = read_config(model_dir, tokenizer)
    if tokenizer is None:
        raise UserError(f"{model_dir} has no tokenizer files, so tasks cannot be read; add tokenizer.json")
    suites = load_suites(config, tokenizer, model)
    if any(suite.task.runs_code for suite in suites):
        choose_backend(config.allow_unsandboxed_code)
    plan = Plan(*choose_strategies(config, model_dir, suites), suites)
    batch_size = config.batch_size or (GPU_BATCH if device.type == "cuda" else CPU_BATCH)
    document = settings(
        config,
        plan,
        model,
        batch_size=batch_size,
        dtype=str(dtype).removeprefix("torch."),
        device=device.type,
        model_files=fingerprints(config.plugin, model_dir, plan.strategies),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    store = RunStore(config.output or default_output(config.model))
    try:
        document = store.settle(document)
        store.describe(environment.describe(str(device)))
        check_problems(plan, store)
        return _Job(config, plan, store, model_dir, tokenizer, batch_size, document, outputs).run()
    finally:
        store.close()


def default_output(model: str) -> Path:
    """runs/MODEL-DATE-TIME, so that a run without --output never meets an older one."""
    name = Path(model).name or "model"
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def check_problems(plan: Plan, store: RunStore) -> None:
    """Raise UserError where a problem's prompt is not the one that the directory's samples answered."""
    prompts = {
        (suite.task.name, problem.doc_id): prompt
        for suite in plan.suites
        for problem, prompt in zip(suite.problems, suite.prompts, strict=True)
    }
    for record in store.records.values():
        ours = prompts.get((record.task, record.doc_id))
        if ours is not None and ours != record.prompt_ids:
            raise UserError(
                f"{store.directory} answered another {record.task} problem {record.doc_id} than the one that"
                " is asked now (other data or another release); choose another --output"
            )


@dataclass
class _Job:
    """A run that has been checked and whose directory is open."""

    config: RunConfig
    plan: Plan
    store: RunStore
    model_dir: Path
    tokenizer: Tokenizer
    batch_size: int
    document: dict[str, Any]
    outputs: bool
    verdicts: dict[tuple[str, int, str], Score | Exception] = field(default_factory=dict)

    def run(self) -> Outcome:
        stop = StopRequest()
        cells = {adapter: self.plan.cells(adapter, self.model_dir) for adapter in self.plan.weights()}
        display = Display([cell for group in cells.values() for cell in group], self.store.records)
        stopped = None
        with display, stop.listening():
            display.note(f"writing to {self.store.directory}; the same command with --output continues it")
            for spec, reason in self.plan.dropped.items():
                display.note(f"leaving out {spec}: {reason}")
            if self.config.trace and (untraced := self.store.untraced()):
                display.note(f"{untraced} samples were decoded without --trace and stay so")
            try:
                for adapter, group in cells.items():
                    self._decode(adapter, group, display, stop)
            except Stopped as signal_name:
                stopped = str(signal_name)
        paths: dict[str, Path] = {}
        self.store.tidy(self.document["strategies"], self.document["tasks"])
        self.store.add_vocab(lambda token: self.tokenizer.decode([token], skip_special=False))
        if stopped is None and self.outputs:
            paths = write_outputs(self.store.directory)
        records = list(self.store.records.values())
        return Outcome(self.store.directory, records, paths, display.seconds, stopped)

    def _decode(
        self, adapter: str | None, cells: Sequence[Cell], display: Display, stop: StopRequest
    ) -> None:
        """All cells of one set of weights, loaded only if a sample is missing or failed."""
        cells = [cell for cell in cells if not self._complete(cell)]
        if not cells:
            return
        display.note(f"loading {self.config.model}" + (f" with adapter {adapter}" if adapter else ""))
        loaded = load_model(
            self.config.model, dtype=self.config.dtype, device=self.config.device, adapter=adapter
        )
        context = self._context(loaded, display, stop)
        warm: set[tuple[str, type]] = set()
        for cell in cells:
            stop.check()
            shape = (cell.suite.task.name, type(cell.strategy.cache))
            if shape not in warm:
                warm_up(context, cell)
                warm.add(shape)
            display.begin(cell)
            CellRun(context, cell).run()
            display.end()
        del loaded, context
        gc.collect()
        free_memory()

    def _context(self, loaded: LoadedModel, display: Display, stop: StopRequest) -> Context:
        return Context(
            loaded=loaded,
            store=self.store,
            watcher=display,
            stop=stop,
            strategies=self.plan.strategies,
            batch_size={suite.task.name: self.batch_size for suite in self.plan.suites},
            seed=self.config.seed,
            temperature=self.config.temperature,
            trace=self.config.trace,
            verdicts=self.verdicts,
        )

    def _complete(self, cell: Cell) -> bool:
        keys = ((cell.strategy.spec, cell.suite.task.name, problem.doc_id) for problem in cell.suite.problems)
        held = [self.store.records.get(key) for key in keys]
        return all(record is not None and record.correct is not None for record in held)
