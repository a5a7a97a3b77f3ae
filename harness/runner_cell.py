"""One cell of a run, a strategy on a suite: decode what is missing, score it, keep every sample."""

from __future__ import annotations

from dataclasses import replace

import torch

from harness import flops
from harness.decoding import Generation
from harness.errors import UserError
from harness.response import read_response
from harness.runner_decode import Context, decode_all, describe, find_references
from harness.runner_plan import Cell
from harness.tasks import Score
from results.records import SampleRecord

SCORE_TOGETHER = 16  # samples judged at a time: code runs in parallel, accuracy so far stays fresh


class CellRun:
    """A cell at work: what is missing, and what becomes of each generation."""

    def __init__(self, context: Context, cell: Cell) -> None:
        self.context, self.cell = context, cell
        self.unscored: list[SampleRecord] = []

    def key(self, index: int) -> tuple[str, str, int]:
        suite = self.cell.suite
        return self.cell.strategy.spec, suite.task.name, suite.problems[index].doc_id

    def run(self) -> None:
        """Decode and score every problem of the cell that has no result yet."""
        todo = []
        for index in range(len(self.cell.suite.problems)):
            record = self.context.store.records.get(self.key(index))
            if record is None or record.status == "failed":
                todo.append(index)
            elif record.correct is None:
                self.unscored.append(record)
        references = find_references(self.context, self.cell, todo) if todo else None
        if references is not None:
            for index in [index for index in todo if index not in references]:
                self.failed(index, RuntimeError("its reference decode failed"))
                todo.remove(index)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        decode_all(self.context, self.cell, todo, references, self.finished, self.failed)
        self.score()

    def finished(self, index: int, generation: Generation, rows: int) -> None:
        """Keep a generation on disk, and judge it when enough have gathered."""
        loaded, suite = self.context.loaded, self.cell.suite
        problem, strategy = suite.problems[index], self.cell.strategy
        response = read_response(
            generation.output_ids, loaded.need_tokenizer(), loaded.config.terminators, problem.until
        )
        cost = flops.estimate(
            loaded.config,
            query_tokens=generation.query_tokens,
            prompt_tokens=len(generation.prompt_ids),
            commit_step=generation.commit_step,
            block_length=suite.gen_length if strategy.unmask.whole_region else suite.block_length,
        )
        record = replace(
            self.blank(index),
            nfe=generation.nfe,
            refresh_nfe=generation.refresh_nfe,
            query_tokens=generation.query_tokens,
            tokens_raw=response.tokens_raw,
            tokens_eos=response.tokens_eos,
            tokens_scored=response.tokens_scored,
            latency_s=generation.latency_s,
            flops=cost,
            peak_memory_bytes=torch.cuda.max_memory_allocated() if loaded.device.startswith("cuda") else None,
            batch_size=rows,
            text=response.text,
            output_ids=generation.output_ids,
            commit_step=generation.commit_step,
            confidence=[round(value, 3) for value in generation.confidence],
            refresh_steps=generation.refresh_steps,
        )
        self.context.store.append(record)
        if self.context.trace:
            self.context.store.trace(record, generation.events)
        self.context.watcher.decoded(record)
        self.unscored.append(record)
        if len(self.unscored) >= SCORE_TOGETHER:
            self.score()

    def failed(self, index: int, error: Exception) -> None:
        """Keep a sample that could not be decoded as a row that says why."""
        record = replace(self.blank(index), status="failed", error=describe(error))
        self.context.store.append(record)
        self.context.watcher.judged(record)

    def blank(self, index: int) -> SampleRecord:
        """What is known of a sample before it is decoded."""
        problem, suite = self.cell.suite.problems[index], self.cell.suite
        return SampleRecord(
            strategy=self.cell.strategy.spec,
            task=suite.task.name,
            doc_id=problem.doc_id,
            prompt_ids=list(suite.prompts[index]),
            prompt_tokens=len(suite.prompts[index]),
            protocol_hash=suite.task.protocol_hash,
            gold=problem.gold,
            question=problem.question,
        )

    def score(self) -> None:
        """Judge what waits. No forward begins meanwhile, and no sample is charged for the seconds."""
        waiting, self.unscored = self.unscored, []
        for start in range(0, len(waiting), SCORE_TOGETHER):
            self.context.stop.check()
            group = waiting[start : start + SCORE_TOGETHER]
            # Strategies often answer alike: the same response to the same problem is judged once.
            keys = [(record.task, record.doc_id, record.text) for record in group]
            fresh = [key for key in dict.fromkeys(keys) if key not in self.context.verdicts]
            graded = self._grade([(doc_id, text) for _, doc_id, text in fresh])
            self.context.verdicts.update(zip(fresh, graded, strict=True))
            for record, key in zip(group, keys, strict=True):
                self._keep(record, self.context.verdicts[key])

    def _grade(self, items: list[tuple[int, str]]) -> list[Score | Exception]:
        """A score, or why there is none, for each (doc_id, response)."""
        try:
            return list(self.cell.suite.task.score_many(items))
        except UserError:
            raise
        except Exception:
            return [self._grade_alone(*item) for item in items]

    def _grade_alone(self, doc_id: int, response: str) -> Score | Exception:
        try:
            return self.cell.suite.task.score(doc_id, response)
        except UserError:
            raise
        except Exception as error:
            return error

    def _keep(self, record: SampleRecord, score: Score | Exception) -> None:
        if isinstance(score, Exception):
            record = replace(record, status="failed", error=f"scoring failed: {describe(score)}")
        else:
            record = replace(
                record,
                extracted=score.extracted,
                correct=score.correct,
                metrics=dict(score.metrics),
                error=score.error,
            )
        self.context.store.append(record)
        self.context.watcher.judged(record)
