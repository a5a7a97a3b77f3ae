"""Every broken, foreign or incomplete checkpoint is an error of one line that names the file and the mend."""

import json

import pytest
import torch
from safetensors.torch import save_file

from harness.errors import UserError
from harness.models.loading import load_model
from tests.checkpoints import assert_refused, edit, write_checkpoint


def assert_load_refused(directory, *words, **options):
    assert_refused(lambda: load_model(str(directory), device="cpu", **options), *words)


def test_missing_config(tmp_path):
    assert_load_refused(tmp_path, "config.json", "missing")


def test_config_that_is_not_json(tmp_path):
    (tmp_path / "config.json").write_text("{")
    assert_load_refused(tmp_path, "config.json", "JSON")


def test_unknown_model_type_lists_the_known(tmp_path):
    write_checkpoint(tmp_path)
    edit(tmp_path / "config.json", model_type="llama")
    assert_load_refused(tmp_path, "config.json", "'llama'", "dream", "llada")


def test_no_weights(tmp_path):
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert_load_refused(tmp_path, str(tmp_path), "model.safetensors")


def test_missing_shard_is_named(tmp_path):
    write_checkpoint(tmp_path, shards=3)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    assert_load_refused(tmp_path, "model-00002-of-00003.safetensors", "missing", "download")


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.99])
def test_truncated_weights_are_named(tmp_path, keep):
    write_checkpoint(tmp_path, shards=2)
    file = tmp_path / "model-00002-of-00002.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    assert_load_refused(tmp_path, file.name, "truncated", "download")


def test_damaged_index(tmp_path):
    write_checkpoint(tmp_path, shards=2)
    for content in ("{}", '{"weight_map": {"model.norm": 3}}'):
        (tmp_path / "model.safetensors.index.json").write_text(content)
        assert_load_refused(tmp_path, "model.safetensors.index.json", "weight_map")


def test_index_lists_what_a_shard_lacks(tmp_path):
    write_checkpoint(tmp_path, shards=2)
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.transformer.extra.weight"] = "model-00001-of-00002.safetensors"
    path.write_text(json.dumps(index))
    assert_load_refused(tmp_path, "model-00001-of-00002.safetensors", "model.transformer.extra.weight")


def test_missing_tensor_is_named(tmp_path):
    state = write_checkpoint(tmp_path)
    del state["model.transformer.ff_out.weight"]
    save_file(state, tmp_path / "model.safetensors")
    assert_load_refused(tmp_path, "1 tensors are missing", "model.transformer.ff_out.weight")


def test_tensor_of_another_model(tmp_path):
    state = write_checkpoint(tmp_path)
    save_file(state | {"model.layers.0.x.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    assert_load_refused(tmp_path, "model.layers.0.x.weight", "different models")


def test_unexpected_shape_names_both(tmp_path):
    write_checkpoint(tmp_path)
    edit(tmp_path / "config.json", mlp_hidden_size=64)
    assert_load_refused(tmp_path, "32, 48]", "32, 64]", "config.json")


def test_weights_of_the_other_family(tmp_path):
    write_checkpoint(tmp_path / "dream", "dream", tokenizer=False)
    write_checkpoint(tmp_path / "llada", "llada", tokenizer=False)
    (tmp_path / "dream" / "config.json").write_bytes((tmp_path / "llada" / "config.json").read_bytes())
    assert_load_refused(tmp_path / "dream", "does not belong")


def test_tokenizer_larger_than_the_embedding(tmp_path):
    write_checkpoint(tmp_path)
    edit(tmp_path / "config.json", vocab_size=303, embedding_size=303)
    assert_load_refused(tmp_path, "305", "303", "different models")


def test_damaged_tokenizer(tmp_path):
    write_checkpoint(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    assert_load_refused(tmp_path, "tokenizer files")


def test_unknown_dtype_and_device(tmp_path):
    write_checkpoint(tmp_path)
    assert_load_refused(tmp_path, "float32", "bfloat16", dtype="int4")
    with pytest.raises(UserError, match="auto, cpu, cuda"):
        load_model(str(tmp_path), device="gpu0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is visible")
def test_an_absent_gpu_is_said(tmp_path):
    write_checkpoint(tmp_path)
    with pytest.raises(UserError, match="0 CUDA devices"):
        load_model(str(tmp_path), device="cuda")
