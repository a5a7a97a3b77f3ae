"""Time of the KV store's writes, of packing a step, and of what a decode step adds to its forward."""

import numpy as np
import pytest
import torch

from harness.bench.workload import Workload, drawn_lengths, synthetic
from harness.decoding.decoder import Decoder
from harness.models.packing import Layout, Segment
from harness.models.random_weights import random_model
from strategies import parse

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def workload():
    """A random model of the demo's shape and 16 ragged prompts."""
    loaded = random_model("demo", dtype="float32", device="cpu")
    return Workload(loaded, synthetic(drawn_lengths((40, 90), 16, 0), loaded, 0), 64, 32)


def test_the_store_is_written(benchmark, workload):
    model = workload.model
    store = model.new_kv(16, 200)
    at = torch.cat([torch.arange(32) + 200 * slot + 50 for slot in range(16)])
    keys = torch.randn(len(at), model.config.n_kv_heads, model.config.head_dim)

    def write():
        for layer in range(model.config.n_layers):
            store.write(layer, at, keys, keys)

    benchmark(write)
    assert torch.equal(store.keys[-1][3, 50:82], keys[96:128])


@pytest.mark.parametrize("rows", [1, 16])
def test_a_step_is_packed(benchmark, rows):
    canvas = np.zeros((rows, 200), np.int64)
    segments = [Segment(slot, 40 + slot, 72 + slot, 150 + slot) for slot in range(rows)]
    packed, _ = benchmark(lambda: Layout(segments, 200, CPU).pack(canvas, np.arange(32 * rows)))
    assert len(packed.tokens) == 32 * rows


class Hollow(Decoder):
    """A decoder whose forward costs nothing, so that a step's time is what surrounds the forward."""

    def compute(self, packed):
        return self.model.hollow[: len(packed.read)].clone()


@pytest.mark.parametrize("rows", [1, 16])
@pytest.mark.parametrize("spec", ["fixed", "confidence", "entropy", "confidence+dual-cache"])
def test_a_step_around_its_forward(benchmark, workload, spec, rows):
    config = workload.loaded.config
    workload.model.hollow = torch.randn(
        rows * 64, config.vocab_rows, generator=torch.Generator().manual_seed(0)
    )
    prompts = workload.prompts[:rows]

    def ready():
        decoder = workload.decoder(Hollow, prompts, parse(spec), rows)
        for slot, prompt in enumerate(prompts):
            decoder.admit(slot, slot, prompt, 0, [])
        return (decoder,), {}

    def step(decoder):
        with torch.inference_mode():
            decoder.step()
        assert [entry.row.nfe for entry in decoder.live] == [1] * rows

    benchmark.pedantic(step, setup=ready, rounds=20, warmup_rounds=2)
