"""Recorded decodes of the published reference implementations, reproduced forward by forward.

Cases of one spec and one pair of lengths are decoded together, with fewer slots than prompts, so that
ragged batches and the admission of waiting prompts are checked against the recordings too. Quirk
cases run under the named variant that means them. Left out are the deviations that README lists: the
guided (cfg) cases, the end-of-text ties that a tie order decides (v028, v029), the step-capped dual
cache that leaves masks, and Dream's plain confidence threshold.
"""

import json
from itertools import groupby
from pathlib import Path

import pytest
import torch

from harness.decoding import decode
from strategies import parse

CASES = Path(__file__).resolve().parents[4] / "shared" / "golden" / "cases_visible.json"
FILTER = "learn2pd:filter=FILTER,"
ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible")


def spec_of(case):
    """The spec that means the case: its own, or for a quirk the variant that reproduces it."""
    spec = case["spec"].replace("learn2pd:", FILTER)
    if case["tier"] != "quirk":
        return spec
    if case["algo"] == "dream_fastdllm_block":
        return spec.replace("remasking=entropy", "remasking=entropy,schedule=dream-block") + ":refresh=first"
    if case["algo"] == "learn2pd_filter_eot_dual":
        return spec + ":suffix=stale"
    return spec + ",eos=banned" if case["params"].get("logits_eos_inf") else spec


def reproduced(case):
    if case["tier"] == "quirk" and case["algo"] == "llada_base":
        return "logits_eos_inf" in case["params"]
    deviates = case["algo"] in ("dream_plain", "fastdllm_2511_dual") and case["tier"] == "quirk"
    return case["spec"] is not None and case["tier"] in ("exact", "commits", "quirk") and not deviates


def groups():
    def key(case):
        return case["model"], spec_of(case), case["gen_length"], case["block_length"]

    if not CASES.is_file():
        return []
    cases = sorted(filter(reproduced, json.loads(CASES.read_text())["cases"]), key=key)
    return [
        pytest.param(*name, list(members), id=f"{name[0]}-{name[1]}-{name[2]}-{name[3]}")
        for name, members in groupby(cases, key)
    ]


def oracle_cases():
    cases = json.loads(CASES.read_text())["oracle_cases"] if CASES.is_file() else []
    return [pytest.param(case, id=case["id"]) for case in cases if case["algo"] == "learn2pd_oracle"]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_CUDA)])
@pytest.mark.parametrize(("model", "spec", "gen_length", "block_length", "cases"), groups())
def test_a_recorded_decode_is_reproduced(
    golden, golden_model, model, spec, gen_length, block_length, cases, device
):
    spec = spec.replace("FILTER", str(golden / "filters" / "llada_filter.safetensors"))
    found = decode(
        golden_model(model.removesuffix("-tiny"), device),
        [case["prompt_ids"] for case in cases],
        parse(spec),
        gen_length=gen_length,
        block_length=block_length,
        batch_size=-(-len(cases) // 2),
    )
    for case, generation in zip(cases, found, strict=True):
        expected = [list(zip(forward["pos"], forward["tok"], strict=True)) for forward in case["trace"]]
        if case["tier"] == "commits":  # the reference runs one more forward a block, which commits nothing
            expected = [event for event in expected if event]
        assert case["prompt_ids"] + generation.output_ids == case["final_ids"], case["id"]
        assert generation.events == expected, case["id"]
        assert generation.nfe == len(expected), case["id"]


def test_every_case_that_must_match_is_among_the_reproduced(golden):
    cases = json.loads((golden / "cases_visible.json").read_text())["cases"]
    left = {case["id"] for case in cases if not reproduced(case)}
    assert not [case["id"] for case in cases if case["tier"] in ("exact", "commits") and case["id"] in left]
    assert sum(map(reproduced, cases)) >= 264 + 45


@pytest.mark.parametrize("case", oracle_cases())
def test_the_oracle_commits_as_recorded_until_the_recorded_one_is_stuck(golden_model, case):
    """A stuck reference fills its block with the answer; ours commits the surest token of it and goes on."""
    answer = case["final_ids"][len(case["prompt_ids"]) :]
    (found,) = decode(
        golden_model("llada"),
        [case["prompt_ids"]],
        parse("oracle"),
        gen_length=case["params"]["gen_length"],
        block_length=case["params"]["block_length"],
        references=[answer],
    )
    expected = [list(zip(forward["pos"], forward["tok"], strict=True)) for forward in case["trace"]]
    smooth = expected.index([]) if [] in expected else len(expected)
    assert found.output_ids == answer
    assert found.events[:smooth] == expected[:smooth]
    assert found.nfe <= case["nfe"]
