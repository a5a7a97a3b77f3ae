"""The FLOP estimate counts what the decode loop computes."""

import pytest
import torch

from harness import flops
from harness.decoding import decode
from strategies import parse


@pytest.mark.parametrize("spec", ["fixed:steps=6", "confidence:threshold=0.3", "confidence+dual-cache"])
def test_positions_read_are_the_logits_computed(tiny_denoiser, spec):
    model = tiny_denoiser("llada", torch.float64)
    read = 0

    def observe(rows, proposal, transfer):
        nonlocal read
        read += len(proposal.index)

    (done,) = decode(model, [[1, 2, 3]], parse(spec), gen_length=11, block_length=4, observe=observe)
    assert flops.positions_read(done.commit_step, 4) == read


def test_the_terms_are_the_matrix_products(tiny_denoiser):
    model = tiny_denoiser("dream", torch.float64)
    blocks = sum(p.numel() for name, p in model.named_parameters() if ".layers." in name and p.ndim > 1)
    assert flops.block_weights(model.config) == blocks
    head = 2 * model.config.d_model * model.config.vocab_rows
    total = flops.estimate(model.config, query_tokens=7, prompt_tokens=3, commit_step=[1], block_length=1)
    attention = 4 * model.config.d_model * (3 + 1) * 7 * model.config.n_layers
    assert total == 2 * blocks * 7 + attention + head
