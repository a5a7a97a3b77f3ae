"""Reading config.json: both families' releases, defaults, and what is refused."""

import json

import pytest

from harness.errors import UserError
from harness.models.config import ModelConfig

LLADA = {
    "model_type": "llada",
    "d_model": 4096,
    "n_heads": 32,
    "n_layers": 32,
    "mlp_hidden_size": 12288,
    "vocab_size": 300,
    "embedding_size": 320,
    "rope_theta": 500000.0,
    "max_sequence_length": 4096,
    "mask_token_id": 310,
    "eos_token_id": 301,
}
DREAM = {
    "model_type": "Dream",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 320,
    "max_position_embeddings": 2048,
    "mask_token_id": 310,
    "eos_token_id": [301, 305],
    "bos_token_id": 302,
    "pad_token_id": 300,
}


def test_a_llada_config():
    c = ModelConfig.from_json(LLADA)
    assert (c.family, c.shift, c.qkv_bias, c.tied) == ("llada", False, False, False)
    assert (c.n_kv_heads, c.head_dim, c.vocab_rows, c.mlp_hidden) == (32, 128, 320, 12288)
    assert (c.terminators, c.pad_id, c.bos_id) == ((301,), 301, None)


def test_a_dream_config():
    c = ModelConfig.from_json(DREAM)
    assert (c.family, c.shift, c.qkv_bias, c.tied) == ("dream", True, True, False)
    assert (c.n_kv_heads, c.head_dim, c.vocab_rows) == (4, 128, 320)
    assert (c.terminators, c.pad_id, c.bos_id) == ((301, 305), 300, 302)


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"n_kv_heads": 8}, "n_kv_heads", 8),
        ({"multi_query_attention": True}, "n_kv_heads", 1),
        ({"mlp_hidden_size": None, "mlp_ratio": 4}, "mlp_hidden", 4 * 4096),
        ({"embedding_size": None}, "vocab_rows", 300),
        ({"weight_tying": True}, "tied", True),
        ({"include_qkv_bias": True}, "qkv_bias", True),
        ({"pad_token_id": 0}, "pad_id", 0),
        ({"rms_norm_eps": 1e-6}, "rms_eps", 1e-6),
    ],
)
def test_variants_of_a_llada_config(changes, field, value):
    assert getattr(ModelConfig.from_json(LLADA | changes), field) == value


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (LLADA | {"model_type": "gpt2"}, "model_type 'gpt2' is not one of dream, llada"),
        ({}, "model_type None"),
        (LLADA | {"block_type": "sequential"}, "block_type 'sequential' is not supported"),
        (LLADA | {"activation_type": "gelu"}, "activation_type 'gelu'"),
        (LLADA | {"layer_norm_type": "default"}, "layer_norm_type 'default'"),
        ({k: v for k, v in LLADA.items() if k != "mask_token_id"}, "'mask_token_id' is missing"),
        ({k: v for k, v in DREAM.items() if k != "hidden_size"}, "'hidden_size' is missing"),
        (DREAM | {"rope_scaling": {"type": "yarn"}}, "rope_scaling .* is not supported"),
        (LLADA | {"n_heads": LLADA["d_model"]}, "leaves no even width a head"),
        (LLADA | {"eos_token_id": LLADA["mask_token_id"]}, "is both mask_token_id and eos_token_id"),
        (LLADA | {"alibi": True}, "alibi True is not supported, only False"),
        (LLADA | {"rope": False}, "rope False is not supported"),
        (DREAM | {"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported, only 'silu'"),
        (DREAM | {"use_sliding_window": True}, "use_sliding_window True is not supported"),
        (LLADA | {"d_model": "64"}, "d_model, .64., is no whole number"),
        (LLADA | {"n_heads": 0}, "n_heads, 0, is no whole number"),
        (LLADA | {"mask_token_id": -1}, "mask_token_id -1 is no token id"),
        (LLADA | {"rope_theta": "x"}, "a value is of the wrong kind"),
    ],
)
def test_a_foreign_config_is_refused_in_one_line(raw, says):
    with pytest.raises(UserError, match=says) as caught:
        ModelConfig.from_json(raw, "here/config.json")
    assert str(caught.value).startswith("here/config.json: ")
    assert "\n" not in str(caught.value)


def test_a_directory_is_read(tmp_path):
    with pytest.raises(UserError, match=r"config\.json is missing"):
        ModelConfig.from_dir(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        ModelConfig.from_dir(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(DREAM))
    assert ModelConfig.from_dir(tmp_path) == ModelConfig.from_json(DREAM)


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_the_golden_configs(golden, family):
    c = ModelConfig.from_dir(golden / f"{family}-tiny")
    assert (c.mask_id, c.pad_id, c.terminators[0], c.vocab_rows) == (510, 500, 500, 512)
