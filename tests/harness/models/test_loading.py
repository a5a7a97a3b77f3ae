"""The releases' own files load to exactly their weights; every broken checkpoint is a one-line error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import UserError
from harness.models.loading import load_model, save_model
from tests.checkpoints import write_checkpoint

FAMILIES = ("llada", "dream")


def load(directory, **options):
    return load_model(str(directory), device="cpu", **options)


def refused(directory, *words, **options):
    """The load fails with one line that holds all `words`."""
    with pytest.raises(UserError) as caught:
        load(directory, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


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


def edit(path, **changes):
    raw = json.loads(path.read_text())
    raw.update(changes)
    path.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))


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


# --- broken checkpoints ------------------------------------------------------------------------------------


def test_missing_config(tmp_path):
    refused(tmp_path, "config.json", "missing")


def test_config_that_is_not_json(tmp_path):
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, "config.json", "JSON")


def test_unknown_model_type_lists_the_known(tmp_path):
    write_checkpoint(tmp_path)
    edit(tmp_path / "config.json", model_type="llama")
    refused(tmp_path, "config.json", "'llama'", "dream", "llada")


def test_no_weights(tmp_path):
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    refused(tmp_path, str(tmp_path), "model.safetensors")


def test_missing_shard_is_named(tmp_path):
    write_checkpoint(tmp_path, shards=3)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    refused(tmp_path, "model-00002-of-00003.safetensors", "missing", "download")


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.99])
def test_truncated_weights_are_named(tmp_path, keep):
    write_checkpoint(tmp_path, shards=2)
    file = tmp_path / "model-00002-of-00002.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    refused(tmp_path, file.name, "truncated", "download")


def test_damaged_index(tmp_path):
    write_checkpoint(tmp_path, shards=2)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    refused(tmp_path, "model.safetensors.index.json", "weight_map")


def test_index_lists_what_a_shard_lacks(tmp_path):
    write_checkpoint(tmp_path, shards=2)
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.transformer.extra.weight"] = "model-00001-of-00002.safetensors"
    path.write_text(json.dumps(index))
    refused(tmp_path, "model-00001-of-00002.safetensors", "model.transformer.extra.weight")


def test_missing_tensor_is_named(tmp_path):
    state = write_checkpoint(tmp_path)
    del state["model.transformer.ff_out.weight"]
    save_file(state, tmp_path / "model.safetensors")
    refused(tmp_path, "1 tensors are missing", "model.transformer.ff_out.weight")


def test_tensor_of_another_model(tmp_path):
    state = write_checkpoint(tmp_path)
    save_file(state | {"model.layers.0.x.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    refused(tmp_path, "model.layers.0.x.weight", "different models")


def test_unexpected_shape_names_both(tmp_path):
    write_checkpoint(tmp_path)
    edit(tmp_path / "config.json", mlp_hidden_size=64)
    refused(tmp_path, "32, 48]", "32, 64]", "config.json")


def test_weights_of_the_other_family(tmp_path):
    write_checkpoint(tmp_path / "dream", "dream", tokenizer=False)
    write_checkpoint(tmp_path / "llada", "llada", tokenizer=False)
    (tmp_path / "dream" / "config.json").write_bytes((tmp_path / "llada" / "config.json").read_bytes())
    refused(tmp_path / "dream", "does not belong")


def test_tokenizer_larger_than_the_embedding(tmp_path):
    write_checkpoint(tmp_path)
    edit(tmp_path / "config.json", vocab_size=303, embedding_size=303)
    refused(tmp_path, "305", "303", "different models")


def test_damaged_tokenizer(tmp_path):
    write_checkpoint(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    refused(tmp_path, "tokenizer files")


def test_unknown_dtype_and_device(tmp_path):
    write_checkpoint(tmp_path)
    refused(tmp_path, "float32", "bfloat16", dtype="int4")
    with pytest.raises(UserError, match="auto, cpu, cuda"):
        load_model(str(tmp_path), device="gpu0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is visible")
def test_an_absent_gpu_is_said(tmp_path):
    write_checkpoint(tmp_path)
    with pytest.raises(UserError, match="0 CUDA devices"):
        load_model(str(tmp_path), device="cuda")


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
