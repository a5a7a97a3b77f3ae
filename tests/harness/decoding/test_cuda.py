"""The paths that only a GPU takes: one upload and one download a step, padded attention, its generators."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from harness.decoding import decode
from harness.models import engine
from harness.models.graphs import Graphs
from harness.models.packing import Layout, Segment, upload
from harness.models.transformer import Denoiser
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


class Launched(Graphs):
    """The same forwards, never captured."""

    def _body(self, step, angles):
        return self.model.body(step, self.kv, angles)


@pytest.mark.parametrize("spec", [*SPECS, "confidence:threshold=0.6+prefix-cache"])
@pytest.mark.parametrize("family", FAMILIES)
def test_graphs_decode_what_launches_decode(on_cuda, prompts, strategy, family, spec, monkeypatch):
    model = on_cuda(family).to(torch.bfloat16)
    options = {**LENGTHS, "batch_size": 3}
    options["references"] = [g.output_ids for g in decode(model, prompts, strategy("fixed"), **LENGTHS)]
    captures = []
    capture = Graphs._capture
    monkeypatch.setattr(Graphs, "_capture", lambda *args: captures.append(capture(*args)) or captures[-1])
    found = decode(model, prompts, strategy(spec), **options)
    assert captures
    assert None not in captures
    monkeypatch.setattr(engine, "Graphs", Launched)
    assert_alike(found, decode(model, prompts, strategy(spec), **options))


def test_a_capture_without_memory_leaves_the_step_to_be_launched(on_cuda, prompts, strategy, monkeypatch):
    model, options = on_cuda("llada").to(torch.bfloat16), {**LENGTHS, "batch_size": 3}
    expected = decode(model, prompts, strategy("confidence:threshold=0.6+dual-cache"), **options)
    body, failed = Denoiser.body, []

    def short(*args):
        if torch.cuda.is_current_stream_capturing():
            failed.append(1)
            raise torch.OutOfMemoryError
        return body(*args)

    monkeypatch.setattr(Denoiser, "body", short)
    assert_alike(decode(model, prompts, strategy("confidence:threshold=0.6+dual-cache"), **options), expected)
    assert failed


@pytest.mark.parametrize("stored", [False, True], ids=["no cache", "cache"])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_is_near_the_full(tiny_denoiser, on_cuda, family, stored):
    """The kernels of half precision, every row's logits: as far from float64's as a CPU's half precision."""
    rows = [Segment(0, 0, 9, 9), Segment(1, 4, 8, 12), Segment(3, 6, 10, 10)]
    if not stored:
        rows = [Segment(slot, 0, keys, keys) for slot, _, _, keys in rows]
    canvas = np.arange(80).reshape(4, 20) % 20
    read = np.array([0, 3, 5, 8, 9, 12, 14])

    def logits(model, style, **more):
        store = model.new_kv(4, 20) if stored else None
        for part in (*store.keys, *store.values) if store else ():
            part.copy_(torch.randn(part.shape, generator=torch.Generator().manual_seed(1)))
        layout = Layout(rows, 20 if stored else None, model.device, style, **more)
        with torch.inference_mode():
            return model.forward_packed(layout.pack(canvas, read)[0], store).double().cpu()

    exact = logits(tiny_denoiser(family), "rows")
    rounded = logits(tiny_denoiser(family, torch.bfloat16), "rows")
    found = logits(on_cuda(family).to(torch.bfloat16), "flash", slots=4, room=64)
    assert (found - exact).norm() < 1.5 * (rounded - exact).norm()
    assert (rounded - exact).norm() < 0.1 * exact.norm()


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
