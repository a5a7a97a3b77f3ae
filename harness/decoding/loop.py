"""The decode loop. There is one; unmasking rule, cache policy and stop rule are its three questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from harness.decoding.decoder import Decoder, Observer
from harness.decoding.generation import Generation
from harness.decoding.lanes import Lanes, lanes_of
from harness.decoding.request import check_request
from harness.models.engine import made_current
from harness.models.transformer import Denoiser
from strategies import Strategy


@torch.inference_mode()
def decode(
    model: Any,
    prompts: Sequence[list[int]],
    strategy: Strategy,
    *,
    gen_length: int,
    block_length: int,
    batch_size: int | None = None,
    temperature: float = 0.0,
    seeds: Sequence[int] | None = None,
    references: Sequence[list[int]] | None = None,
    on_finish: Callable[[int, Generation], None] | None = None,
    observe: Observer | None = None,
) -> list[Generation]:
    """Decode a ragged batch; sample for sample the result is that of decoding each prompt alone.

    model: a Denoiser, or anything that holds one as `.model`. prompts: token ids, each at least one.
    batch_size: rows decoded together (all by default); a finished row leaves and the next prompt
    takes its slot. On a CPU a small model's rows are decoded in several lanes. temperature: 0 is
    greedy; above, tokens are sampled by float64 Gumbel noise from a generator seeded per sample with
    `seeds` (their indices by default). references: for the oracle rule, one reference decode a prompt.
    on_finish: called with (index, generation) as samples finish. observe: called behind every forward
    with its rows, what was proposed for them and what of it is committed.
    Raises UserError for an impossible region or a prompt that exceeds the model's context.
    """
    denoiser: Denoiser = model if isinstance(model, Denoiser) else model.model
    check_request(denoiser, prompts, strategy, gen_length, block_length, references)
    if not prompts:
        return []
    slots = min(batch_size or len(prompts), len(prompts))
    decoders = [
        Decoder(
            denoiser,
            strategy,
            slots=own,
            length=max(map(len, prompts)) + gen_length,
            gen_length=gen_length,
            block_length=block_length,
            temperature=temperature,
            observe=observe,
        )
        for own in lanes_of(denoiser, slots)
    ]
    return drive(decoders, prompts, seeds=seeds, references=references, on_finish=on_finish)


def drive(
    decoders: Sequence[Decoder],
    prompts: Sequence[list[int]],
    *,
    seeds: Sequence[int] | None = None,
    references: Sequence[list[int]] | None = None,
    on_finish: Callable[[int, Generation], None] | None = None,
) -> list[Generation]:
    """Step until every prompt is decoded; as `decode`, which builds the decoders and checks the request.

    decoders: lanes to step side by side, at most one a prompt. The prompts are dealt out to them in turn once
    and for all: were they to go to whoever is free first, rows would differ in company from run to run.
    """
    results: list[Generation | None] = [None] * len(prompts)
    waiting = {lane: iter(range(at, len(prompts), len(decoders))) for at, lane in enumerate(decoders)}
    free = {lane: list(range(lane.slots)) for lane in decoders}

    def feed(lane: Decoder) -> None:
        for sample in waiting[lane] if free[lane] else ():
            seed = seeds[sample] if seeds is not None else sample
            reference = list(references[sample]) if references is not None else []
            lane.admit(free[lane].pop(0), sample, list(prompts[sample]), seed, reference)
            if not free[lane]:
                break

    for lane in decoders:
        feed(lane)
    with made_current(decoders[0].model.device), Lanes(decoders) as lanes:
        while lanes.live:
            lane = lanes.step()
            for row, generation in lane.release():
                free[lane].append(row.slot)
                results[row.sample] = generation
                if on_finish:
                    on_finish(row.sample, generation)
            feed(lane)
    return [generation for generation in results if generation is not None]
