"""The releases' own files load to exactly their weights and ids, in one copy, and save again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.errors import UserError
from harness.models.loading import load_model, save_model
from tests.checkpoints import edit, write_checkpoint

FAMILIES = ("llada", "dream")


def load(directory, **options):
    return load_model(str(directory), device="cpu", **options)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_form_of_a_checkpoint_loads_to_its_weights(tmp_path, naive_forward, family, tied, shards):
    state = write_checkpoint(tmp_path, family, shards=shards, tied=tied)
    loaded = load(tmp_path)
    assert (loaded.dtype, loaded.device, loaded.config.family) == ("float32", "cpu", family)
    own = loaded.model.state_dict()
    head = "model.transformer.ff_out.weight" if family == "llada" else "lm_head.weight"
    assert own.keys() == state.keys() - ({head} if tied else set())
    assert all(torch.equal(own[name], state[name]) for name in own)
    tokens = loaded.tokenizer.chat("the answer")
    logits = loaded.model.logits(torch.tensor([tokens]))[0]
    expected, _ = naive_forward(loaded.model, tokens)
    if family == "dream":
        expected = torch.cat((expected[:1], expected[:-1]))
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_grouped_heads_and_bias_are_read_from_the_config(tmp_path):
    write_checkpoint(tmp_path, "dream")
    config = load(tmp_path).config
    assert (config.n_heads, config.n_kv_heads, config.qkv_bias, config.shift) == (4, 2, True, True)


@pytest.mark.parametrize("family", FAMILIES)
def test_golden_forward(golden, family):
    loaded = load(golden / f"{family}-tiny")
    assert loaded.tokenizer is None
    recorded = load_file(golden / f"forward_{family}.safetensors")
    logits = loaded.model.logits(recorded["plain0.input_ids"].long())
    expected = recorded["plain0.logits"]
    if family == "dream":
        expected = torch.cat((expected[:, :1], expected[:, :-1]), 1)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_a_checkpoint_without_tokenizer_names_the_way_out(tmp_path):
    write_checkpoint(tmp_path, tokenizer=False)
    loaded = load(tmp_path)
    with pytest.raises(UserError, match=r"tokenizer\.json or give prompt_ids"):
        loaded.need_tokenizer()


@pytest.mark.parametrize(
    ("dtype", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16), ("float64", torch.float64)]
)
def test_dtype(tmp_path, dtype, expected):
    state = write_checkpoint(tmp_path)
    loaded = load(tmp_path, dtype=dtype)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {expected}
    name = "model.transformer.wte.weight"
    assert torch.equal(loaded.model.state_dict()[name], state[name].to(expected))


def test_the_model_outlives_its_files(tmp_path):
    write_checkpoint(tmp_path)
    model = load(tmp_path).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"\xff" * file.stat().st_size)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


MEASURE = """
import sys
from pathlib import Path
from harness.models.loading import load_model

def memory(key):
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in status if line.startswith(key)).split()[1])

load_model(sys.argv[1], device="cpu")  # what is imported on the way is not the model
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
before = memory("VmRSS")
load_model(sys.argv[2], device="cpu", dtype=sys.argv[3])
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc"
)
@pytest.mark.slow
def test_no_second_copy_in_host_memory(tmp_path):
    write_checkpoint(tmp_path / "small", tokenizer=False)
    write_checkpoint(tmp_path / "large", tokenizer=False, wide=1024)
    size = (tmp_path / "large" / "model.safetensors").stat().st_size
    assert size > 50e6
    for dtype, expected in (("float32", size), ("bfloat16", size / 2)):
        command = [sys.executable, "-c", MEASURE, str(tmp_path / "small"), str(tmp_path / "large"), dtype]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert int(done.stdout) < expected + 0.2 * size


# --- ids ---------------------------------------------------------------------------------------------------


def test_llada_has_two_terminators_from_its_files(tmp_path):
    write_checkpoint(tmp_path)
    loaded = load(tmp_path)
    ids = loaded.tokenizer.fast.get_added_vocab()
    assert loaded.config.terminators == (ids["<|endoftext|>"], ids["<|eot_id|>"])
    assert loaded.config.mask_id == ids["<|mdm_mask|>"]


def test_dream_ends_with_its_end_of_turn_too(tmp_path):
    write_checkpoint(tmp_path, "dream")
    loaded = load(tmp_path)
    ids = loaded.tokenizer.fast.get_added_vocab()
    assert loaded.config.terminators == (ids["<|endoftext|>"], ids["<|im_end|>"])


def test_ids_may_stand_in_any_of_the_files(tmp_path):
    write_checkpoint(tmp_path, tokenizer=False)
    edit(tmp_path / "config.json", mask_token_id=..., eos_token_id=..., pad_token_id=None)
    (tmp_path / "generation_config.json").write_text(
        json.dumps({"mask_token_id": 7, "eos_token_id": [5, 6], "pad_token_id": 4})
    )
    config = load(tmp_path).config
    assert (config.mask_id, config.terminators, config.pad_id) == (7, (5, 6), 4)


def test_the_tokenizer_names_what_the_configs_leave_out(tmp_path):
    write_checkpoint(tmp_path)
    edit(tmp_path / "config.json", mask_token_id=None, eos_token_id=None)
    loaded = load(tmp_path)
    ids = loaded.tokenizer.fast.get_added_vocab()
    assert loaded.config.mask_id == ids["<|mdm_mask|>"]
    assert loaded.config.terminators == (ids["<|endoftext|>"], ids["<|eot_id|>"])


def test_generation_config_adds_terminators(tmp_path):
    write_checkpoint(tmp_path, tokenizer=False)
    first = load(tmp_path).config.terminators
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [9, *first]}))
    assert load(tmp_path).config.terminators == (*first, 9)


def test_a_config_resaved_by_transformers_5_keeps_its_rotary_base(tmp_path):
    write_checkpoint(tmp_path, "dream", tokenizer=False)
    rope = {"rope_theta": 1000000.0, "rope_type": "default"}
    edit(tmp_path / "config.json", rope_theta=..., rope_scaling=..., rope_parameters=rope)
    assert load(tmp_path).config.rope_theta == 1000000.0
    edit(tmp_path / "config.json", rope_parameters=rope | {"rope_type": "yarn"})
    with pytest.raises(UserError, match=r"'yarn' is not supported"):
        load(tmp_path)


# --- saving ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("limit", ["5GB", 20_000])
def test_saved_models_load_to_the_same(tmp_path, family, limit):
    write_checkpoint(tmp_path / "a", family)
    loaded = load(tmp_path / "a")
    raw = json.loads((tmp_path / "a" / "config.json").read_text())
    save_model(loaded.model, raw, tmp_path / "b", max_shard_size=limit)
    assert (tmp_path / "b" / "model.safetensors.index.json").exists() == (limit != "5GB")
    again = load(tmp_path / "b")
    own = loaded.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in again.model.state_dict().items())


def test_saving_over_a_sharded_model_leaves_no_stale_shard(tmp_path):
    write_checkpoint(tmp_path, shards=3, tokenizer=False)
    loaded = load(tmp_path)
    with torch.no_grad():
        next(loaded.model.parameters()).zero_()
    save_model(loaded.model, json.loads((tmp_path / "config.json").read_text()), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert next(load(tmp_path).model.parameters()).count_nonzero() == 0
