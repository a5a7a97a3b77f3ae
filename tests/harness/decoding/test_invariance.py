"""The master test: a ragged batch with waiting prompts decodes each sample as if it were alone.

Over the grid rule x cache x stop, on both families, in float64, where rounding decides nothing.
"""

import dataclasses
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from harness.decoding import decode, loop
from harness.models import graphs
from harness.models.transformer import Denoiser

FAMILIES = ("llada", "dream")
LEARNED = "learn2pd:threshold=0.7,filter=FILTER"
RULES = (
    "fixed",
    "confidence:threshold=0.6",
    "factor",
    "entropy:threshold=1.0",
    LEARNED,
    "oracle",
)
CACHES = ("", "+prefix-cache", "+dual-cache")
STOPS = ("", "+eotp", "+eotp:trigger=committed")
VARIANTS = (
    "fixed:steps=1/2",
    "fixed:remasking=random,steps=5",
    "fixed:remasking=margin",
    "fixed:steps=7,remasking=entropy",
    "fixed:schedule=dream-block,remasking=entropy",
    "fixed:eos=banned,steps=1/2",
    "fixed:eos=last",
    "factor:factor=1.5,variant=fast-dllm",
    LEARNED + ",steps=5",
)
SINGLES = (
    "fixed:schedule=dream",
    "fixed:schedule=dream,steps=5+eotp",
    "confidence:threshold=0.6+prefix-cache:refresh=first",
    "confidence:threshold=0.6+eotp+dual-cache:refresh=first",
    "fixed:schedule=dream-block+dual-cache:refresh=first",
    "confidence:threshold=0.6+eotp+dual-cache:suffix=stale",
    LEARNED + "+eotp+dual-cache:suffix=stale",
    "entropy:threshold=1.0+eotp+dual-cache:suffix=stale,refresh=first",
)
GRID = (
    *(rule + cache + stop for rule in RULES for cache in CACHES for stop in STOPS),
    *(rule + extra for rule in VARIANTS for extra in ("", "+prefix-cache+eotp", "+dual-cache")),
    *SINGLES,
)
LENGTHS = {"gen_length": 10, "block_length": 4}  # a short last block


def recorded(model, prompts, strategy, first=0, **options):
    """The generations, and what the rule saw: (sample, forward) -> confidences over the active block."""
    seen = {}

    def observe(rows, proposal, transfer):
        for place, row in enumerate(rows):
            width = row.block_end - row.block
            seen[first + row.sample, row.nfe] = proposal.confidence[place, :width].tolist()

    return decode(model, prompts, strategy, observe=observe, **LENGTHS, **options), seen


@pytest.fixture(scope="session")
def references(tiny_denoiser, prompts, strategy):
    """family -> the fixed decode of every prompt, for the oracle."""
    return {
        family: [
            generation.output_ids
            for generation in decode(tiny_denoiser(family), prompts, strategy("fixed"), **LENGTHS)
        ]
        for family in FAMILIES
    }


@pytest.fixture(scope="session")
def both_ways(tiny_denoiser, prompts, strategy, references):
    """`both_ways(family, spec)`: everything decoded in one ragged batch, and each prompt alone."""

    def run(family, spec, **options):
        model, parsed, answers = tiny_denoiser(family), strategy(spec), references[family]
        seeds = [11, 22, 33, 44]
        together = recorded(model, prompts, parsed, batch_size=3, seeds=seeds, references=answers, **options)
        alone, seen = [], {}
        for i, prompt in enumerate(prompts):
            found, views = recorded(
                model, [prompt], parsed, i, seeds=[seeds[i]], references=[answers[i]], **options
            )
            alone += found
            seen |= views
        return together, (alone, seen)

    return run


def assert_same(together, alone):
    (batch, seen), (single, seen_alone) = together, alone
    for a, b in zip(batch, single, strict=True):
        for field in dataclasses.fields(a):
            if field.name == "confidence":
                np.testing.assert_allclose(a.confidence, b.confidence, rtol=0, atol=1e-9)
            elif field.name != "latency_s":
                assert getattr(a, field.name) == getattr(b, field.name), field.name
    assert seen.keys() == seen_alone.keys()
    for key, values in seen.items():
        np.testing.assert_allclose(values, seen_alone[key], rtol=0, atol=1e-9, err_msg=str(key))


def assert_sound(generation, mask_id, gen_length, patient, may_cut):
    """What holds for every finished sample of any strategy."""
    g = generation
    assert mask_id not in g.output_ids
    assert 1 <= len(g.output_ids) <= gen_length
    assert len(g.output_ids) == gen_length or may_cut
    assert len(g.events) == g.nfe >= 1
    assert len(g.commit_step) == len(g.confidence) == len(g.output_ids)
    assert g.refresh_nfe == len(g.refresh_steps)
    written = {}
    for forward, event in enumerate(g.events, 1):
        for position, token in event:
            assert position not in written
            written[position] = token, forward
    kept = [written[position] for position in range(len(g.output_ids))]
    assert [token for token, _ in kept] == g.output_ids
    assert [forward for _, forward in kept] == g.commit_step
    assert all(0 <= p <= 1 for p in g.confidence)
    if not patient:
        assert g.nfe <= gen_length, "a forward neither committed nor cut anything"
        assert may_cut or all(g.events), "a forward committed nothing"


@pytest.mark.parametrize("spec", GRID)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_decodes_each_sample_as_alone(both_ways, strategy, family, spec):
    together, alone = both_ways(family, spec)
    assert_same(together, alone)
    patient, may_cut = strategy(spec).unmask.patient, "eotp" in spec
    for generation in together[0]:
        assert_sound(generation, 23, LENGTHS["gen_length"], patient, may_cut)


@pytest.mark.parametrize(
    "spec",
    [
        "fixed",
        "fixed:remasking=random,steps=5+dual-cache",
        "confidence:threshold=0.5+prefix-cache+eotp",
        LEARNED + "+eotp",
        "oracle",
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_samples_what_each_sample_samples_alone(both_ways, family, spec):
    together, alone = both_ways(family, spec, temperature=0.8)
    assert_same(together, alone)


class Recorded:
    """In a graph's place: a capture notes what was called with which tensors, a replay calls it again."""

    now = None
    replays = 0

    @contextmanager
    def capture(self, *_):
        Recorded.now = self
        yield
        Recorded.now = None

    def replay(self):
        Recorded.replays += 1
        model, step, kv, _ = self.called
        self.output.copy_(BODY(model, step, kv, model.angles(step)))  # of the columns there are now


BODY = Denoiser.body


def recorded_body(*called):
    """What a capture returns is not computed before a replay."""
    if Recorded.now is None:
        return BODY(*called)
    Recorded.now.called, Recorded.now.output = called, torch.full_like(BODY(*called), torch.nan)
    return Recorded.now.output


@pytest.fixture
def without_a_gpu(monkeypatch):
    """Graphs without a GPU, of widths eight columns apart."""
    monkeypatch.setattr(Denoiser, "body", recorded_body)
    monkeypatch.setattr(graphs, "GRAIN", ((graphs.COLUMNS, 8),))
    monkeypatch.setattr(graphs, "_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorded)
    monkeypatch.setattr(torch.cuda, "graph", Recorded.capture)
    for name in ("graph_pool_handle", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    Recorded.replays = 0


@pytest.mark.usefixtures("without_a_gpu")
@pytest.mark.parametrize("spec", SINGLES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpus_ways_decode_the_same(both_ways, monkeypatch, family, spec, style):
    """Rows in few batches, or in one kernel by graphs with columns to fill the step up; here on a CPU too."""
    one_by_one = both_ways(family, spec)[1]
    monkeypatch.setattr(Denoiser, "attention_style", style)
    assert_same(both_ways(family, spec)[0], one_by_one)
    assert (Recorded.replays > 0) == (style == "flash")


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("spec", [*SINGLES, "oracle+prefix-cache", LEARNED + "+eotp"])
@pytest.mark.parametrize("family", FAMILIES)
def test_lanes_side_by_side_decode_the_same(both_ways, monkeypatch, family, spec):
    """On a CPU the rows of a small model are decoded in lanes; here in two of a row or two."""
    one_by_one, lanes = both_ways(family, spec)[1], []

    def halves(model, slots):
        lanes.append([half for half in (slots - slots // 2, slots // 2) if half])
        return lanes[-1]

    monkeypatch.setattr(loop, "lanes_of", halves)
    assert_same(both_ways(family, spec)[0], one_by_one)
    assert torch.get_num_threads() == 2
    assert [2, 1] in lanes


def test_the_grid_is_not_vacuous(tiny_denoiser, prompts, strategy, references):
    """The tiny models feel each cache, each stop and each rule: no two of them decode everything alike."""

    def outputs(spec):
        return [
            (g.output_ids, g.events)
            for family in FAMILIES
            for g in decode(
                tiny_denoiser(family), prompts, strategy(spec), references=references[family], **LENGTHS
            )
        ]

    caches = [outputs("confidence:threshold=0.6" + cache) for cache in CACHES]
    stops = [outputs("confidence:threshold=0.6" + stop) for stop in STOPS]
    rules = [outputs(rule) for rule in (*RULES, *VARIANTS)]
    stale = [outputs("confidence:threshold=0.6+eotp+dual-cache" + end) for end in ("", ":suffix=stale")]
    for name, group in {"caches": caches, "stops": stops, "rules": rules, "stale": stale}.items():
        alike = [(i, j) for i, a in enumerate(group) for j, b in enumerate(group[:i]) if a == b]
        assert not alike, name
    cut = sum(len(ids) < LENGTHS["gen_length"] for ids, _ in stops[1])
    assert 0 < cut < len(stops[1])
