"""Weights side by side: the same parameters and products, and one product only while they lie that way."""

import copy

import pytest
import torch
from safetensors.torch import load_file

from harness.models import transformer
from harness.models.joining import adjacent, at_once, join
from harness.models.loading import save_model
from harness.models.transformer import build


@pytest.fixture(params=["llada", "dream"])
def model(request, tiny_denoiser):
    return copy.deepcopy(tiny_denoiser(request.param))


def joined(model):
    for block in model.blocks:
        block.join()
    return model


def test_parameters_are_what_they_were(model):
    before = copy.deepcopy(model.state_dict())
    after = joined(model).state_dict()
    assert list(after) == list(before)
    for name, value in before.items():
        assert torch.equal(after[name], value), name


def test_a_step_is_the_same_in_fewer_products(model, monkeypatch):
    tokens = torch.arange(12).view(1, 12)
    products = []
    count = torch.nn.Linear.forward
    monkeypatch.setattr(torch.nn.Linear, "forward", lambda *args: products.append(1) or count(*args))
    expected, apart = model.logits(tokens), len(products)
    monkeypatch.setattr(transformer, "kernels_for", lambda x: True)
    assert torch.equal(model.logits(tokens), expected)
    assert len(products) == 2 * apart, "nothing has been joined yet"
    torch.testing.assert_close(joined(model).logits(tokens), expected, rtol=1e-12, atol=1e-12)
    assert len(products) == 3 * apart - 5 * len(model.blocks)


def test_replaced_weights_are_multiplied_one_by_one(model):
    block = joined(model).blocks[0]
    x = torch.randn(3, model.config.d_model, dtype=torch.float64)
    parts = block.parts("qkv")
    torch.testing.assert_close(at_once(parts, x), torch.cat([part(x) for part in parts], -1))
    parts[1].weight.data = parts[1].weight.data.clone()
    assert at_once(parts, x) is None
    join(parts)
    assert at_once(parts, x) is not None
    copied = copy.deepcopy(block).parts("qkv")
    assert at_once(copied, x) is None
    parts[2] = torch.nn.Sequential(parts[2])  # as an adapter wraps it
    assert at_once(parts, x) is None


def test_weights_in_training_stay_where_they_are(model):
    parts = model.requires_grad_().blocks[0].parts("qkv")
    before = [part.weight.data_ptr() for part in parts]
    join(parts)
    assert [part.weight.data_ptr() for part in parts] == before


def test_joined_weights_can_be_trained_and_saved(model, tmp_path):
    with torch.inference_mode():
        joined(model)
    model.requires_grad_().logits(torch.arange(12).view(1, 12)).sum().backward()
    assert model.blocks[0].part("k").weight.grad is not None
    save_model(model, {}, tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert {name: value.shape for name, value in saved.items()} == {
        name: value.shape for name, value in model.named_parameters()
    }


def test_a_model_made_for_inference_alone_still_computes(tiny_config):
    with torch.inference_mode():
        torch.manual_seed(0)
        model = build(tiny_config("llada")).requires_grad_(False)
        tokens = torch.arange(12).view(1, 12)
        expected = model.logits(tokens)
        torch.testing.assert_close(joined(model).logits(tokens), expected)
        assert at_once(model.blocks[0].parts("qkv"), torch.zeros(1, 32)) is not None


def test_a_hook_is_not_passed_by(model):
    parts = joined(model).blocks[0].parts("qkv")
    x = torch.zeros(1, model.config.d_model, dtype=torch.float64)
    assert at_once(parts, x) is not None
    handle = parts[1].register_forward_hook(lambda module, inputs, output: output + 1)
    assert at_once(parts, x) is None
    handle.remove()
    parts[2].register_forward_pre_hook(lambda module, inputs: None)
    assert at_once(parts, x) is None


def test_adjacent_needs_one_buffer_without_gaps():
    whole = torch.arange(24.0).view(6, 4)
    assert torch.equal(adjacent(whole.split([1, 2, 3])), whole)
    assert adjacent([whole[:2], whole[3:]]) is None
    assert adjacent([whole[2:], whole[:2]]) is None
    assert adjacent([whole[:2], whole[2:].clone()]) is None
    assert adjacent([whole[:2, :2], whole[2:, :2]]) is None
    memory = whole.numpy()
    apart = [torch.from_numpy(memory[:2]), torch.from_numpy(memory[2:])]  # buffers that happen to touch
    assert adjacent(apart) is None
