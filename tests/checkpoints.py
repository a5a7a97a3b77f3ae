"""Tiny checkpoints in exactly the releases' files: the configs, tokenizers and shards of LLaDA and Dream."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from harness.errors import UserError
from harness.models.config import ModelConfig
from harness.models.transformer import build

TEXT = ["the answer is 42 and the question is not known", "def add(a, b):\n    return a + b\n"] * 4
LLADA_SPECIAL = ("<|startoftext|>", "<|endoftext|>", "<|mdm_mask|>", "<|start_header_id|>")
LLADA_SPECIAL += ("<|end_header_id|>", "<|eot_id|>")
DREAM_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|beginoftext|>", "<|mask|>")
LLADA_TEMPLATE = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
DREAM_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}"
    "{{ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_level():
    """A byte-level BPE with a few merges, the special tokens still to be added."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=sorted(alphabet), show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def write_llada_tokenizer(directory: Path, chat=True):
    """tokenizer.json and tokenizer_config.json; returns name -> id of the special tokens."""
    tokenizer = byte_level()
    tokenizer.add_special_tokens(list(LLADA_SPECIAL))
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
    }
    if chat:
        config["chat_template"] = LLADA_TEMPLATE
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return {name: tokenizer.token_to_id(name) for name in LLADA_SPECIAL}


def write_dream_tokenizer(directory: Path):
    """vocab.json, merges.txt and a tokenizer_config.json that names Dream's own class."""
    tokenizer = byte_level()
    state = json.loads(tokenizer.to_str())["model"]
    (directory / "vocab.json").write_text(json.dumps(state["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in state["merges"]]
    (directory / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    ids = {name: len(state["vocab"]) + at for at, name in enumerate(DREAM_SPECIAL)}
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    config = {
        "tokenizer_class": "DreamTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        "added_tokens_decoder": {str(at): {"content": name, **flags} for name, at in ids.items()},
        "bos_token": "<|beginoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "mask_token": "<|mask|>",
        "add_bos_token": False,
        "add_prefix_space": False,
        "chat_template": DREAM_TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    (directory / "tokenization_dream.py").write_text("raise RuntimeError('remote code must not run')\n")
    return ids


def llada_config(ids, tied=False):
    return {
        "architectures": ["LLaDAModelLM"],
        "auto_map": {"AutoModel": "modeling_llada.LLaDAModelLM"},
        "model_type": "llada",
        "activation_type": "silu",
        "block_type": "llama",
        "layer_norm_type": "rms",
        "d_model": 32,
        "n_heads": 4,
        "n_kv_heads": 4,
        "n_layers": 3,
        "mlp_hidden_size": 48,
        "mlp_ratio": 4,
        "vocab_size": 320,
        "embedding_size": 320,
        "include_bias": False,
        "include_qkv_bias": False,
        "rope": True,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-05,
        "max_sequence_length": 512,
        "weight_tying": tied,
        "mask_token_id": ids["<|mdm_mask|>"],
        "eos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }


def dream_config(ids, tied=False):
    return {
        "architectures": ["DreamModel"],
        "auto_map": {"AutoModel": "modeling_dream.DreamModel"},
        "model_type": "Dream",
        "hidden_act": "silu",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": tied,
        "vocab_size": 320,
        "mask_token_id": ids["<|mask|>"],
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }


def write_checkpoint(
    directory: Path, family="llada", *, shards=1, tied=False, tokenizer=True, scale=2.0, wide=32
):
    """A random checkpoint of `family` in `directory`; returns the state that its files hold."""
    directory.mkdir(parents=True, exist_ok=True)
    write = {"llada": write_llada_tokenizer, "dream": write_dream_tokenizer}[family]
    ids = write(directory)
    if not tokenizer:
        for file in directory.iterdir():
            file.unlink()
    raw = {"llada": llada_config, "dream": dream_config}[family](ids, tied)
    raw["d_model" if family == "llada" else "hidden_size"] = wide
    (directory / "config.json").write_text(json.dumps(raw, indent=2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(ModelConfig.from_json(raw))
        state = {name: value.detach().clone() for name, value in model.state_dict().items()}
        for value in state.values():
            if value.ndim > 1:
                value.mul_(scale)  # else positions hardly mix and every output is alike
            else:
                value.add_(0.2 * torch.randn_like(value))
    if family == "dream" and tied:  # Qwen2-style checkpoints may keep the tied head in the file
        state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    write_shards(directory, state, shards)
    return state


def write_shards(directory: Path, state, shards):
    """model.safetensors, or its shards with their index as transformers writes them."""
    names = sorted(state)
    if shards == 1:
        save_file(state, directory / "model.safetensors", {"format": "pt"})
        return
    weight_map = {}
    for at in range(shards):
        file = f"model-{at + 1:05d}-of-{shards:05d}.safetensors"
        part = names[at::shards]
        save_file({name: state[name] for name in part}, directory / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(value.numel() * value.element_size() for value in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def edit(path: Path, **changes):
    """Change keys of a JSON file; `...` removes one."""
    raw = json.loads(path.read_text())
    raw.update(changes)
    path.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))


def assert_refused(load, *words):
    """`load()` ends in one line for the user that holds all `words`."""
    with pytest.raises(UserError) as caught:
        load()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
