"""The yardstick decodes what the decode loop decodes, in float64 where rounding decides nothing."""

import random

import pytest

from harness.bench.naive import check, naive
from harness.decoding import decode
from harness.errors import UserError
from strategies import parse
from strategies.filter import FilterNet, save_filter

GEN, BLOCK = 10, 4  # a short last block
RULES = ("fixed", "fixed:steps=1/2", "confidence:threshold=0.6", "factor", "entropy:threshold=1.0")
CACHES = ("", "+prefix-cache", "+dual-cache")


@pytest.fixture(scope="module")
def prompts():
    draw = random.Random(5)
    return [[draw.randrange(20) for _ in range(length)] for length in (3, 7)]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    path = tmp_path_factory.mktemp("filter") / "filter.safetensors"
    save_filter(FilterNet(BLOCK), path)
    return f"learn2pd:threshold=0.5,filter={path}"


def both(model, prompts, spec, answers=None):
    strategy = parse(spec)
    loop = decode(model, prompts, strategy, gen_length=GEN, block_length=BLOCK, references=answers)
    plain = [
        naive(model, prompt, strategy, GEN, BLOCK, answers[i] if answers else None)
        for i, prompt in enumerate(prompts)
    ]
    return plain, [(generation.output_ids, generation.nfe) for generation in loop]


@pytest.mark.parametrize("family", ["llada", "dream"])
@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("rule", RULES)
def test_same_tokens_and_forwards(tiny_denoiser, prompts, family, rule, cache):
    plain, loop = both(tiny_denoiser(family), prompts, rule + cache)
    assert plain == loop


@pytest.mark.parametrize("family", ["llada", "dream"])
@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("stop", ["", "+eotp"])
def test_the_learned_filter_and_its_cut(tiny_denoiser, prompts, learned, family, cache, stop):
    plain, loop = both(tiny_denoiser(family), prompts, learned + stop + cache)
    assert plain == loop


@pytest.mark.parametrize("cache", CACHES)
def test_an_oracle_ends_at_its_reference(tiny_denoiser, prompts, cache):
    model = tiny_denoiser("llada")
    answers = [output for output, _ in both(model, prompts, "fixed")[0]]
    plain, loop = both(model, prompts, "oracle" + cache, answers)
    assert plain == loop
    assert [output for output, _ in plain] == answers


@pytest.mark.parametrize(
    "spec",
    ["fixed:schedule=dream", "factor:variant=fast-dllm", "confidence+dual-cache:refresh=first"],
)
def test_what_the_scripts_do_not_do_is_refused(spec):
    with pytest.raises(UserError, match="--naive does not know"):
        check(parse(spec))
