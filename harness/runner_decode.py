"""Decoding a cell's problems whatever happens: batches that halve when memory runs out, oracle references."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from harness.decoding import Generation, decode
from harness.errors import UserError
from harness.models.loading import LoadedModel
from harness.prepare import prepare, reference_strategy
from harness.runner_plan import Cell
from harness.runner_stop import Stopped, StopRequest
from harness.runner_store import RunStore
from harness.tasks import Score
from results.records import SampleRecord
from strategies import PartError, Row, SpecError, Strategy
from strategies.unmask import FixedSteps
from strategies.values import Steps


class Watcher(Protocol):
    """What a cell tells of its progress."""

    def forward(self, rows: Collection[Row]) -> None: ...

    def decoded(self, record: SampleRecord) -> None: ...

    def judged(self, record: SampleRecord) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass
class Context:
    """What all cells of one set of weights share.

    batch_size: rows decoded together, by task; it shrinks when memory runs out. verdicts: what graders
    said of (task, doc_id, response), an exception where they failed.
    """

    loaded: LoadedModel
    store: RunStore
    watcher: Watcher
    stop: StopRequest
    strategies: Sequence[Strategy]
    batch_size: dict[str, int]
    seed: int = 0
    temperature: float = 0.0
    trace: bool = False
    verdicts: dict[tuple[str, int, str], Score | Exception] = field(default_factory=dict)


def decode_options(context: Context, cell: Cell, indices: Sequence[int]) -> dict[str, Any]:
    """What `decode` is told of the problems `indices`; sample seeds depend on seed and problem alone."""
    suite = cell.suite
    return {
        "gen_length": suite.gen_length,
        "block_length": suite.block_length,
        "temperature": context.temperature,
        "seeds": [context.seed + suite.problems[index].doc_id for index in indices],
    }


def decode_all(
    context: Context,
    cell: Cell,
    indices: Sequence[int],
    references: Mapping[int, list[int]] | None,
    finished: Callable[[int, Generation, int], None],
    failed: Callable[[int, Exception], None],
) -> None:
    """Decode the problems `indices`; what fails at any batch size is handed to `failed` alone.

    finished: called with (index, generation, rows decoded together). A failure, running out of memory
    above all, halves the batch and goes on with what is unfinished; at one row it is that sample's own.
    Raises Stopped between two forwards.
    """
    task, pending = cell.suite.task.name, list(indices)
    whole = rows = context.batch_size[task]
    while pending:
        try:
            attempt(context, cell, rows, pending, references, finished, failed)
        except (Stopped, UserError, SpecError):
            raise
        except Exception as error:
            memory, part = out_of_memory(error), isinstance(error, PartError)
            if rows > 1:
                rows = 1 if part else rows // 2  # a part fails alike in half a batch
                context.watcher.note(f"{cell.name}: {describe(error)}; going on with {rows} rows at a time")
            else:
                failed(pending.pop(0), error)
                rows = 1 if memory or part else whole
            if memory:
                context.batch_size[task] = rows
        free_memory()


def attempt(
    context: Context,
    cell: Cell,
    rows: int,
    pending: list[int],
    references: Mapping[int, list[int]] | None,
    finished: Callable[[int, Generation, int], None],
    failed: Callable[[int, Exception], None],
) -> None:
    """Decode `pending`, `rows` together, taking each problem out of the list as it ends."""
    now = list(pending)
    live: dict[int, Row] = {}  # by their place in `now`; a forward may be of some of them only

    def observe(rows: list[Row], proposal: object, transfer: object) -> None:
        context.stop.check()
        live.update((row.sample, row) for row in rows)
        context.watcher.forward(live.values())

    def finish(place: int, generation: Generation) -> None:
        live.pop(place)
        pending.remove(now[place])
        try:
            finished(now[place], generation, min(rows, len(now)))
        except (Stopped, UserError):
            raise
        except Exception as error:  # its text cannot be read: that sample's failure, not the batch's
            failed(now[place], error)

    decode(
        context.loaded.model,
        [cell.suite.prompts[index] for index in now],
        cell.strategy,
        batch_size=rows,
        references=None if references is None else [references[index] for index in now],
        on_finish=finish,
        observe=observe,
        **decode_options(context, cell, now),
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory, the device's or the host's, is exhausted."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )


def free_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def describe(error: BaseException) -> str:
    """An exception on one line of at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def find_references(context: Context, cell: Cell, indices: Sequence[int]) -> dict[int, list[int]] | None:
    """The reference decode of the problems `indices` where the cell's rule needs one, else None.

    What the run has already decoded under the reference's spec is taken from its samples; the rest is
    decoded here and not recorded. A problem whose reference fails is missing from the result.
    """
    reference = reference_strategy(cell.strategy)
    if reference is None:
        return None
    suite = cell.suite
    specs = {reference.spec} | {s.spec for s in context.strategies if s.expanded == reference.expanded}
    found: dict[int, list[int]] = {}
    for index in indices:
        doc_id = suite.problems[index].doc_id
        records = [context.store.records.get((spec, suite.task.name, doc_id)) for spec in specs]
        held = next((record for record in records if record is not None and record.output_ids), None)
        if held is not None:
            found[index] = held.output_ids
    missing = [index for index in indices if index not in found]
    if missing:
        context.watcher.note(
            f"{cell.name}: decoding {len(missing)} references with {reference.spec}, not recorded"
        )
        reference = prepare(reference, context.loaded, suite.gen_length, suite.block_length)

        def keep(index: int, generation: Generation, rows: int) -> None:
            found[index] = generation.output_ids

        decode_all(context, replace(cell, strategy=reference), missing, None, keep, lambda index, error: None)
    return found


def warm_up(context: Context, cell: Cell) -> None:
    """Two forwards a block of a full batch under the cell's cache, so that no timed forward is the first."""
    suite = cell.suite
    blocks = -(-suite.gen_length // suite.block_length)
    steps = Steps.parse(str(min(2 * blocks, suite.gen_length)))
    quick = replace(cell.strategy, unmask=FixedSteps(steps=steps))
    prompts = suite.prompts[: context.batch_size[suite.task.name]]
    try:
        decode(
            context.loaded.model,
            prompts,
            quick,
            gen_length=suite.gen_length,
            block_length=suite.block_length,
            observe=lambda *_: context.stop.check(),
        )
    except (Stopped, UserError, SpecError):
        raise
    except Exception:  # the timed decode meets the same, with fewer rows at last, and says of which samples
        free_memory()
