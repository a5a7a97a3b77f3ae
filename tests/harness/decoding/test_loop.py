"""The loop's edges: odd lengths, admission, cost accounting, the oracle, what cannot be decoded."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from harness.decoding import decode
from harness.errors import UserError
from strategies import Predictions, SpecError

FAMILIES = ("llada", "dream")
SPECS = (
    "fixed",
    "confidence:threshold=0.6+prefix-cache",
    "entropy:threshold=1.0+dual-cache",
    "factor+eotp",
    "confidence:threshold=0.6+eotp+dual-cache",
)


@pytest.mark.parametrize("lengths", [(1, 1), (5, 1), (7, 7), (9, 2), (6, 5)])
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("family", FAMILIES)
def test_any_pair_of_lengths_decodes_without_a_mask_left(
    tiny_denoiser, prompts, strategy, family, spec, lengths
):
    gen_length, block_length = lengths
    found = decode(
        tiny_denoiser(family),
        prompts,
        strategy(spec),
        gen_length=gen_length,
        block_length=block_length,
        batch_size=2,
    )
    for generation in found:
        assert 23 not in generation.output_ids
        assert min(generation.commit_step) >= 1
        assert len(generation.output_ids) == gen_length or "eotp" in spec


def test_fixed_decoding_spends_exactly_its_steps(tiny_denoiser, prompts, strategy):
    for spec, lengths, steps in [
        ("fixed", (10, 4), 10),
        ("fixed:steps=1/2", (12, 4), 6),
        ("few-step", (16, 4), 4),
        ("fixed:steps=7", (10, 4), 7),
        ("fixed:steps=3", (10, 4), 3),
        ("fixed:steps=4,schedule=dream", (10, 4), 4),
        ("fixed:steps=25,schedule=dream", (10, 4), 25),
        ("fixed:steps=13,schedule=dream-block", (14, 7), 13),
    ]:
        gen_length, block_length = lengths
        found = decode(
            tiny_denoiser("dream"), prompts, strategy(spec), gen_length=gen_length, block_length=block_length
        )
        assert [generation.nfe for generation in found] == [steps] * len(prompts), spec


def test_costs_are_counted_per_sample(tiny_denoiser, prompts, strategy):
    """Forwards, refreshes and columns of fixed decoding, 8 tokens in blocks of 4, one a forward."""
    expected = {
        "fixed": lambda n: (8, [], 8 * (n + 8)),
        "fixed+prefix-cache": lambda n: (8, [1, 5], 2 * (n + 8) + 3 * 8 + 3 * 4),
        "fixed+dual-cache": lambda n: (8, [1, 5], 2 * (n + 8) + 3 * 4 + 3 * 4),
    }
    for spec, cost in expected.items():
        found = decode(
            tiny_denoiser("llada"), prompts, strategy(spec), gen_length=8, block_length=4, batch_size=3
        )
        for prompt, generation in zip(prompts, found, strict=True):
            assert generation.prompt_ids == prompt
            assert (generation.nfe, generation.refresh_steps, generation.query_tokens) == cost(len(prompt))
            assert generation.refresh_nfe == len(generation.refresh_steps)
            assert generation.latency_s > 0


def test_a_finished_rows_slot_goes_to_the_next_prompt(tiny_denoiser, prompts, strategy):
    """Never more rows than slots; every prompt is admitted as soon as one is free."""
    live, finished = [], []
    found = decode(
        tiny_denoiser("llada"),
        prompts,
        strategy("confidence:threshold=0.6"),
        gen_length=10,
        block_length=4,
        batch_size=2,
        observe=lambda rows, proposal, transfer: live.append([(row.slot, row.sample) for row in rows]),
        on_finish=lambda index, generation: finished.append((index, generation)),
    )
    assert sorted(index for index, _ in finished) == list(range(len(prompts)))
    assert all(found[index] is generation for index, generation in finished)
    assert all(len(rows) == 2 for rows in live[: -max(g.nfe for g in found)])
    assert {slot for rows in live for slot, _ in rows} == {0, 1}
    assert sum(map(len, live)) == sum(generation.nfe for generation in found)
    assert live[0] == [(0, 0), (1, 1)]


def test_more_slots_than_prompts_and_no_prompts_at_all(tiny_denoiser, prompts, strategy):
    model, options = tiny_denoiser("llada"), {"gen_length": 4, "block_length": 4}
    assert decode(model, [], strategy("fixed"), **options) == []
    wide = decode(model, prompts, strategy("fixed"), batch_size=50, **options)
    assert [g.output_ids for g in wide] == [
        g.output_ids for g in decode(SimpleNamespace(model=model), prompts, strategy("fixed"), **options)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_oracle_repeats_its_reference_in_fewer_forwards_than_any_rule(
    tiny_denoiser, prompts, strategy, family
):
    model, options = tiny_denoiser(family), {"gen_length": 12, "block_length": 4}
    fixed = decode(model, prompts, strategy("fixed"), **options)
    answers = [generation.output_ids for generation in fixed]
    oracle = decode(model, prompts, strategy("oracle"), references=answers, **options)
    assert [generation.output_ids for generation in oracle] == answers
    assert all(a.nfe <= b.nfe for a, b in zip(oracle, fixed, strict=True))
    assert sum(g.nfe for g in oracle) < sum(g.nfe for g in fixed)
    # A rule that ends with the same tokens can only have been slower.
    for spec in ("confidence:threshold=0.5", "factor", "entropy:threshold=1.0"):
        for rule, bound in zip(decode(model, prompts, strategy(spec), **options), oracle, strict=True):
            assert rule.output_ids != bound.output_ids or rule.nfe >= bound.nfe


def test_the_oracle_imitates_even_an_answer_the_model_would_not_give(tiny_denoiser, prompts, strategy):
    model, options = tiny_denoiser("llada"), {"gen_length": 10, "block_length": 4}
    answers = [[(7 * i + j) % 20 for j in range(10)] for i in range(len(prompts))]
    found = decode(model, prompts, strategy("oracle"), references=answers, batch_size=2, **options)
    assert [generation.output_ids for generation in found] == answers
    assert all(generation.nfe <= 10 for generation in found)


def test_seeds_decide_the_samples(tiny_denoiser, prompts, strategy):
    model, options = tiny_denoiser("llada"), {"gen_length": 10, "block_length": 4, "temperature": 1.5}

    def outputs(seeds):
        return [g.output_ids for g in decode(model, prompts[:2], strategy("fixed"), seeds=seeds, **options)]

    assert outputs([3, 4]) == outputs([3, 4])
    assert outputs([3, 4]) != outputs([5, 6])
    assert outputs(None) == outputs([0, 1])
    cold = decode(model, prompts[:2], strategy("fixed"), gen_length=10, block_length=4)
    assert outputs([3, 4]) != [generation.output_ids for generation in cold]


def test_eotp_reads_every_masked_position_and_with_a_cache_the_block_alone(tiny_denoiser, strategy):
    """The first forward proposes for all 12 positions; the surest end of text among them is the new end."""
    model, options = tiny_denoiser("dream"), {"gen_length": 12, "block_length": 2}
    cuts = 0
    for prompt in ([3, 4], [9], [7, 1, 8], [2, 11]):
        seen = {}
        for spec in ("fixed+eotp", "fixed+eotp:trigger=committed", "fixed+eotp+prefix-cache"):
            views = seen[spec] = []
            decode(model, [prompt], strategy(spec), observe=lambda *view: views.append(view), **options)  # noqa: B023
        assert [seen[spec][0][1].masked.sum().item() for spec in seen] == [12, 2, 2]
        first, second = (proposal for _, proposal, _ in seen["fixed+eotp"][:2])
        ends = np.where(first.tokens == 20, first.confidence, 0.0)[0]
        if ends.any() and int(ends.argmax()) >= 2:
            cuts += 1
            assert second.masked[0].sum() <= int(ends.argmax())
    assert cuts


@pytest.mark.parametrize("cache", ["", "+prefix-cache", "+dual-cache"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_filter_sees_the_committed_positions_of_its_block_too(tiny_denoiser, strategy, family, cache):
    views = []
    decode(
        tiny_denoiser(family),
        [[3, 4]],
        strategy("learn2pd:threshold=0.99,filter=FILTER" + cache),
        gen_length=8,
        block_length=4,
        observe=lambda rows, proposal, transfer: views.append(proposal),
    )
    assert any((view.masked[0, :4] == 0).any() for view in views)
    assert all((view.confidence[0, :4] > 0).all() for view in views)


@pytest.mark.parametrize(
    "spec", ["fixed:remasking=margin", "entropy+eotp", "oracle", "learn2pd:filter=FILTER+eotp", "factor"]
)
def test_a_step_asks_the_device_once(tiny_denoiser, prompts, strategy, monkeypatch, spec):
    """One copy to the host a forward, and one pass over the logits, whatever the rule weighs."""
    copies, passes = [], []
    measure, scanned = Predictions.measure, Predictions._scan
    monkeypatch.setattr(Predictions, "measure", lambda self, names: copies.append(1) or measure(self, names))
    monkeypatch.setattr(
        Predictions, "_scan", lambda self, entropy: passes.append(1) or scanned(self, entropy)
    )
    answers = [[4] * 8] * 2
    options = {"gen_length": 8, "block_length": 4, "batch_size": 1, "references": answers}
    found = decode(tiny_denoiser("llada"), prompts[:2], strategy(spec), **options)
    assert len(copies) == len(passes) == sum(generation.nfe for generation in found)


def test_what_a_cut_removes_is_not_committed(tiny_denoiser, strategy):
    """A forward may choose positions behind the end that its own predictions move to the left."""
    removed = 0
    for prompt in ([i, i + 3] for i in range(12)):
        ends, chosen = [], []

        def observe(rows, proposal, transfer, ends=ends, chosen=chosen):
            (row,) = rows
            ends.append(row.end - row.start)
            chosen.append([row.block - row.start + i for i in transfer[0].nonzero()[0].tolist()])

        (found,) = decode(
            tiny_denoiser("dream"),
            [prompt],
            strategy("confidence:threshold=0.2+eotp"),
            gen_length=12,
            block_length=6,
            observe=observe,
        )
        after = [*ends[1:], len(found.output_ids)]
        for event, choice, end in zip(found.events, chosen, after, strict=True):
            assert [position for position, _ in event] == [i for i in choice if i < end]
            removed += sum(i >= end for i in choice)
    assert removed


def test_banned_and_last_end_of_text(tiny_denoiser, prompts, strategy):
    model, options = tiny_denoiser("dream"), {"gen_length": 12, "block_length": 6}

    def outputs(spec):
        return decode(model, prompts, strategy(spec), **options)

    assert any(20 in g.output_ids for g in outputs("fixed"))
    assert not any(20 in g.output_ids for g in outputs("fixed:eos=banned"))
    late = [
        (step, p)
        for g in outputs("fixed:eos=last")
        for token, step, p in zip(g.output_ids, g.commit_step, g.confidence, strict=True)
        if token in (20, 21)
    ]
    assert late
    assert all(p == 0 for _, p in late)


def test_the_mask_token_is_never_predicted(tiny_denoiser, prompts, strategy):
    model = tiny_denoiser("llada", scale=2.5)
    head = model.get_submodule(model.names.head).weight
    head[23] = 1.5 * (head[4] + head[9])
    for spec in SPECS:
        for temperature in (0.0, 1.0):
            found = decode(
                model, prompts, strategy(spec), gen_length=10, block_length=4, temperature=temperature
            )
            assert not any(23 in generation.output_ids for generation in found)
    wanted = model.logits(torch.tensor([[*prompts[1], *[23] * 10]])).argmax(-1)
    assert (wanted == 23).any()


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"gen_length": 0}, UserError, "at least 1"),
        ({"block_length": 0}, UserError, "at least 1"),
        ({"block_length": 11}, UserError, "block length 11 exceeds generation length 10"),
        ({"gen_length": 126}, UserError, "prompt 1 has 4 tokens.*context of 128"),
        ({"prompts": [[1], []]}, UserError, "prompt 1 is empty"),
        ({"prompts": [[1], [2, 24]]}, UserError, "prompt 1 holds a token id outside.*24"),
        ({"prompts": [[-1]]}, UserError, "outside the model's vocabulary"),
        ({"spec": "oracle"}, UserError, "oracle needs the reference"),
        ({"references": [[1], [24]]}, UserError, "reference 1 holds a token id outside.*24"),
        ({"spec": "learn2pd"}, SpecError, "learn2pd needs a filter"),
        ({"spec": "fixed:steps=2"}, SpecError, "10 tokens in 3 blocks"),
        ({"spec": "fixed:steps=11"}, SpecError, "steps=11"),
        ({"spec": "fixed:schedule=dream+dual-cache"}, SpecError, "no blocks for a cache"),
        ({"spec": "learn2pd:filter=FILTER", "block_length": 5}, SpecError, "block length 4, not 5"),
    ],
)
def test_what_cannot_be_decoded_is_said_before_anything_is(tiny_denoiser, strategy, changes, error, says):
    request = {"gen_length": 10, "block_length": 4, "prompts": [[1], [1, 2, 3, 4]], "spec": "fixed"} | changes
    prompts, spec = request.pop("prompts"), request.pop("spec")
    with pytest.raises(error, match=says) as caught:
        decode(tiny_denoiser("llada"), prompts, strategy(spec), **request)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec", ["fixed", "confidence", "entropy+dual-cache", "fixed:schedule=dream-block+eotp"]
)
def test_predictions_that_are_no_numbers_are_never_taken_for_an_answer(tiny_denoiser, strategy, spec):
    damaged = copy.deepcopy(tiny_denoiser("llada"))
    next(damaged.parameters()).data.fill_(math.nan)
    with pytest.raises(UserError, match="not numbers"):
        decode(damaged, [[1, 2], [3]], strategy(spec), gen_length=8, block_length=4)
