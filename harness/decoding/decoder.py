"""One step of decoding: what is planned for the live rows, computed, chosen of the predictions, committed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from harness.decoding.canvas import Canvas, Live
from harness.decoding.generation import Generation
from harness.decoding.region import Region, read_region, recomputed
from harness.decoding.sampling import row_noise, seeded
from harness.errors import UserError
from harness.models.allocator import keep_freed_memory
from harness.models.engine import ForwardEngine
from harness.models.packing import Packed, Segment
from harness.models.transformer import Denoiser
from strategies import PartError, Predictions, Proposal, Row, Strategy, Vocabulary, answers

NOT_A_NUMBER = (
    "the model's predictions are not numbers (NaN): its weights are damaged, or overflow in this --dtype;"
    " download it again or give --dtype float32"
)
Observer = Callable[[list[Row], Proposal, np.ndarray], None]


class Decoder:
    """The state of one `decode` call, or of one of its lanes: canvas, KV store, live rows."""

    def __init__(
        self,
        model: Denoiser,
        strategy: Strategy,
        *,
        slots: int,
        length: int,
        gen_length: int,
        block_length: int,
        temperature: float = 0.0,
        observe: Observer | None = None,
    ) -> None:
        if model.device.type == "cpu":
            keep_freed_memory()
        self.model, self.strategy, self.slots = model, strategy, slots
        self.gen_length, self.temperature, self.observe = gen_length, temperature, observe
        self.block_length = gen_length if strategy.unmask.whole_region else block_length
        self.vocabulary = Vocabulary(model.config.mask_id, model.config.terminators)
        rule, rows = strategy.unmask, model.config.vocab_rows
        self.banned = answers.tokens(rule, "banned", rule.banned(self.vocabulary), rows)
        self.muted = answers.tokens(rule, "muted", rule.muted(self.vocabulary), rows)
        self.canvas = Canvas.empty(slots, length, gen_length)
        self.engine = ForwardEngine(model, slots, length, strategy.cache.keeps_kv)
        self.live: list[Live] = []
        self.generators: dict[int, torch.Generator] = {}
        self.tail = strategy.stop.reads_tail and not strategy.cache.keeps_kv
        self._planned: tuple[list[Row], Region, list[Tensor]]

    def admit(self, slot: int, sample: int, prompt: list[int], seed: int, reference: list[int]) -> None:
        """Put a prompt into a free slot."""
        self.canvas.admit(slot, prompt, self.gen_length, self.vocabulary.mask_id, reference)
        start = len(prompt)
        row = Row(sample, slot, start, start + self.gen_length, self.block_length, start)
        row.entered = row.block_end - row.block
        if self.temperature > 0 or self.strategy.unmask.random:
            self.generators[slot] = seeded(seed, self.model.device)
        self.live.append(Live(row))
        self.live.sort(key=lambda entry: entry.row.slot)

    def step(self) -> None:
        """One forward for every live row: plan, compute, choose, settle."""
        self.settle(self.compute(self.plan()))

    def plan(self) -> Packed:
        """What the next forward recomputes and reads, on the device."""
        rows = [entry.row for entry in self.live]
        segments = [self._segment(row) for row in rows]
        region = read_region(
            self.canvas.masked,
            rows,
            segments,
            tail=self.tail,
            whole_block=self.strategy.unmask.reads_block,
            lead=int(self.model.config.shift),
        )
        extras = []
        if self.strategy.unmask.needs_reference:
            extras.append(self.canvas.references[region.slots, region.columns].ravel()[region.index])
        packed, references = self.engine.pack(segments, self.canvas.tokens, region.read, extras)
        self._planned = rows, region, references
        return packed

    def compute(self, packed: Packed) -> Tensor:
        """Logits [N, V] of the positions that `plan` wants read; in any thread."""
        return self.engine.forward(packed)

    def settle(self, logits: Tensor) -> None:
        """Choose what is committed of the predictions, and commit it."""
        rows, region, references = self._planned
        proposal, transfer, keep = self._choose(rows, logits, region, references)
        self._commit(rows, region, proposal, transfer, keep)

    def _choose(
        self, rows: list[Row], logits: Tensor, region: Region, references: list[Tensor]
    ) -> tuple[Proposal, np.ndarray, np.ndarray | None]:
        """The proposal, what the rule commits of it [B, W], and the columns that the stop rule keeps [B]."""
        strategy = self.strategy
        proposal = self._proposal(rows, logits, region, references)
        wanted = strategy.cache.transfer(proposal, strategy.unmask.transfer_index(proposal))
        wanted = answers.admitted(strategy.cache, "transfer", wanted, proposal.masked.shape)
        if not (proposal.confidence >= 0).all():  # behind the rule, whose first question decides the one scan
            raise UserError(NOT_A_NUMBER)
        transfer = wanted & proposal.masked
        if not (strategy.unmask.patient or transfer.any(1).all()):
            raise PartError(f"{type(strategy.cache).__name__}.transfer() lets a forward commit nothing")
        if self.observe:
            self.observe(rows, proposal, transfer)
        vouched = proposal.vouched if strategy.stop.reads_tail else None
        keep = strategy.stop.cut(proposal, transfer, vouched)
        return proposal, transfer, None if keep is None else answers.kept(strategy.stop, keep, len(rows))

    def _segment(self, row: Row) -> Segment:
        """The columns this forward recomputes for `row`, counted as its cost."""
        cache = self.strategy.cache
        first, last = recomputed(self.strategy, row, self.canvas.masked[row.slot], self.tail)
        refresh = cache.keeps_kv and (first, last) == (0, row.end)
        reads_first = self.strategy.unmask.reads_block or self.canvas.masked[row.slot, first]
        if self.model.config.shift and first > 0 and reads_first:
            first -= 1  # a shifted model predicts the block's first position at the column before it
        if refresh:
            row.refreshes += 1
            row.keys = row.end
        row.nfe += 1
        row.queries += last - first
        keys = row.keys if cache.keeps_cut else row.end
        return Segment(row.slot, first, last, keys)

    def _proposal(
        self, rows: list[Row], logits: Tensor, region: Region, references: list[Tensor]
    ) -> Proposal:
        noise = None
        if self.generators:
            generators = [self.generators[row.slot] for row in rows]
            noise = row_noise(generators, region.counts.tolist(), logits.device)
        predictions = Predictions(
            logits,
            self.vocabulary,
            banned=self.banned,
            muted=self.muted,
            temperature=self.temperature,
            noise=noise,
            references=references[0] if references else None,
        )
        facts = [(row.step, row.entered, row.block - row.start, self._nominal_width(row)) for row in rows]
        return Proposal(
            predictions,
            region.index,
            eligible=region.eligible,
            masked=region.masked,
            rows=np.array(facts),
            gen_length=self.gen_length,
            rule=self.strategy.unmask,
        )

    def _nominal_width(self, row: Row) -> int:
        """The active block's width had nothing been cut."""
        return min(row.block_length, row.start + self.gen_length - row.block)

    def _commit(
        self,
        rows: list[Row],
        region: Region,
        proposal: Proposal,
        transfer: np.ndarray,
        keep: np.ndarray | None,
    ) -> None:
        """Cut the rows, write what was committed before each row's end, and step past finished blocks."""
        if keep is not None:
            for row, kept in zip(rows, keep.tolist(), strict=True):
                row.end = min(row.end, row.block + kept)
            ends = np.array([[row.end] for row in rows])
            transfer = transfer & (region.columns < ends)
        place, offset = transfer.nonzero()
        columns, tokens = region.columns[place, offset], proposal.tokens[place, offset]
        confidence = proposal.confidence[place, offset]
        self.canvas.commit(region.slots[place, 0], columns, tokens)
        left = region.eligible & ~transfer
        if keep is not None:
            left &= region.columns < np.array([[row.block_end] for row in rows])
        unfinished = left.any(1).tolist()
        low, counts = 0, np.bincount(place, minlength=len(rows)).tolist()
        for entry, count, busy in zip(self.live, counts, unfinished, strict=True):
            row, trace, own = entry.row, entry.trace, slice(low, low + count)
            trace.commits.append((columns[own], tokens[own], confidence[own]))
            low += count
            if row.refreshes > len(trace.refresh_steps):
                trace.refresh_steps.append(row.nfe)
            row.step += 1
            if not busy:
                row.block, row.step = row.block_end, 0
                row.entered = row.block_end - row.block

    def release(self) -> list[tuple[Row, Generation]]:
        """Take the finished rows out of the batch."""
        done = [entry for entry in self.live if entry.row.finished]
        if done:
            self.live = [entry for entry in self.live if not entry.row.finished]
        for entry in done:
            self.generators.pop(entry.row.slot, None)
        return [(entry.row, Generation.of(entry, self.canvas.tokens)) for entry in done]
