"""The paths that only a GPU takes: one upload and one download a step, padded attention, its generators."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from harness.decoding import decode
from harness.models.packing import upload
from strategies.predictions import to_host

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible")
FAMILIES = ("llada", "dream")
LENGTHS = {"gen_length": 10, "block_length": 4}
SPECS = (
    "fixed",
    "fixed:remasking=margin,steps=1/2+prefix-cache",
    "confidence:threshold=0.6+dual-cache",
    "entropy:threshold=1.0+eotp",
    "learn2pd:threshold=0.7,filter=FILTER+dual-cache+eotp",
    "oracle",
)


@pytest.fixture(scope="module")
def on_cuda(tiny_denoiser):
    """`on_cuda(family)`: a copy of the tiny float64 model on the GPU."""
    return lambda family: copy.deepcopy(tiny_denoiser(family)).to("cuda")


def assert_alike(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.confidence, b.confidence, rtol=0, atol=1e-9)
        for field in dataclasses.fields(a):
            if field.name not in ("confidence", "latency_s"):
                assert getattr(a, field.name) == getattr(b, field.name), field.name


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_decodes_what_a_cpu_decodes(tiny_denoiser, on_cuda, prompts, strategy, family, spec):
    reference = decode(tiny_denoiser(family), prompts, strategy("fixed"), **LENGTHS)
    options = {**LENGTHS, "batch_size": 3, "references": [g.output_ids for g in reference]}
    expected = decode(tiny_denoiser(family), prompts, strategy(spec), **options)
    assert_alike(decode(on_cuda(family), prompts, strategy(spec), **options), expected)


@pytest.mark.parametrize("spec", ["confidence:threshold=0.5", "fixed:remasking=random,steps=5+dual-cache"])
def test_a_batch_on_a_gpu_samples_what_each_sample_samples_alone(on_cuda, prompts, strategy, spec):
    model, options = on_cuda("llada"), {**LENGTHS, "temperature": 0.8}
    together = decode(model, prompts, strategy(spec), batch_size=3, seeds=range(len(prompts)), **options)
    for seed, (prompt, found) in enumerate(zip(prompts, together, strict=True)):
        assert_alike([found], decode(model, [prompt], strategy(spec), seeds=[seed], **options))


def test_arrays_come_back_from_the_device_as_they_went():
    draw = np.random.default_rng(0)
    arrays = [draw.integers(-(2**40), 2**40, (3, 5)), draw.random(7) > 0.5, draw.random(2), np.arange(3)]
    found = upload(arrays, torch.device("cuda"))
    for array, tensor in zip(arrays, found, strict=True):
        assert tensor.device.type == "cuda"
        np.testing.assert_array_equal(tensor.cpu().numpy(), array)
    numbers = [torch.arange(4, device="cuda"), torch.rand(4, dtype=torch.float64, device="cuda")]
    for tensor, array in zip(numbers, to_host(numbers), strict=True):
        np.testing.assert_array_equal(array, tensor.cpu().numpy())
