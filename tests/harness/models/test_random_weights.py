"""Models of the released shapes with seeded random weights."""

import pytest
import torch

from harness.errors import UserError
from harness.models.random_weights import random_model, shape_config, shapes
from harness.models.transformer import Denoiser

EXPECTED = {"llada-8b": (4096, 32, 32, 32, 126464), "dream-7b": (3584, 28, 28, 4, 152064)}
PARAMETERS = {"llada-8b": 8_015_581_184, "dream-7b": 7_615_616_512}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_shapes_are_those_of_the_releases(name):
    c = shape_config(name)
    assert (c.d_model, c.n_layers, c.n_heads, c.n_kv_heads, c.vocab_rows) == EXPECTED[name]
    with torch.device("meta"):
        model = Denoiser(c)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


def test_the_releases_shapes_are_listed():
    assert set(EXPECTED) <= set(shapes())


def test_layers_can_be_fewer():
    assert shape_config("dream-7b", layers=2).n_layers == 2


def test_a_seed_fixes_the_weights(monkeypatch, tmp_path):
    from harness.models import random_weights
    from harness.models.config import ModelConfig
    from tests.checkpoints import llada_config, write_llada_tokenizer

    raw = ModelConfig.from_json(llada_config(write_llada_tokenizer(tmp_path)))
    monkeypatch.setattr(random_weights.ModelConfig, "from_json", lambda *_: raw)
    one, same, other = (
        random_model("llada-8b", device="cpu", dtype="float32", seed=seed).model.state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    name = "model.transformer.wte.weight"
    assert not torch.equal(one[name], other[name])
    assert one["model.transformer.ln_f.weight"].eq(1).all()


def test_unknown_shape_lists_the_known():
    with pytest.raises(UserError, match="dream-7b, llada-8b"):
        random_model("llama-70b")
