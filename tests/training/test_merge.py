"""Merging: the saved model answers as the base with its adapter."""

import json

import pytest
import torch
from peft import PeftModel

from harness.models.loading import load_model, save_model
from harness.models.transformer import build
from training import merge
from training.__main__ import main
from training.lora import adapt
from training.settings import Lora


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_merged_weights_give_the_adapter_s_logits(tmp_path, tiny_config, config, dtype):
    torch.manual_seed(0)
    save_model(build(config, dtype=getattr(torch, dtype)), tiny_config, tmp_path / "base")
    student = adapt(load_model(str(tmp_path / "base"), device="cpu").model, Lora(4, 8, ("q_proj", "ff_out")))
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    student.save_pretrained(tmp_path / "base" / "adapters" / "tuned")
    arguments = ["--model", str(tmp_path / "base"), "--adapter", "tuned"]
    assert main(["merge", *arguments, "--output", str(tmp_path / "merged")]) == 0

    tokens = torch.randint(0, 29, (2, 20))
    base = load_model(str(tmp_path / "base"), device="cpu", dtype="float32").model
    with torch.no_grad():
        plain = base.logits(tokens)
        adapted = PeftModel.from_pretrained(base, str(tmp_path / "base" / "adapters" / "tuned"))(tokens)
        merged = load_model(str(tmp_path / "merged"), device="cpu").model.logits(tokens)
    assert (plain - adapted).abs().max() > 0.1
    torch.testing.assert_close(merged, adapted, atol=1e-5, rtol=0)
    assert json.loads((tmp_path / "merged" / "config.json").read_text()) == tiny_config


def test_a_large_base_s_dtype_is_kept_and_the_base_itself_is_not_overwritten(
    tmp_path, tiny_config, config, capsys, monkeypatch
):
    monkeypatch.setattr(merge, "LARGE", 1)
    save_model(build(config, dtype=torch.bfloat16), tiny_config, tmp_path / "base")
    adapt(load_model(str(tmp_path / "base"), device="cpu").model, Lora(4, 8, ("q_proj",))).save_pretrained(
        tmp_path / "tuned"
    )
    arguments = ["--model", str(tmp_path / "base"), "--adapter", str(tmp_path / "tuned")]
    assert main(["merge", *arguments, "--output", str(tmp_path / "merged")]) == 0
    assert "bfloat16" in capsys.readouterr().out
    assert main(["merge", *arguments, "--output", str(tmp_path / "merged")]) == 2
    assert "holds a model already" in capsys.readouterr().err
    assert main(["merge", *arguments, "--output", str(tmp_path / "base")]) == 2
    assert "is the base model itself" in capsys.readouterr().err
    assert main(["merge", "--model", str(tmp_path / "base"), "--adapter", "absent", "--output", "x"]) == 2
