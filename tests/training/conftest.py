"""A tiny model and tokenizer for the training tests."""

import pytest
import torch

from harness.models.config import ModelConfig
from harness.models.tokenizer import Tokenizer
from harness.models.transformer import build

MASK, END, TURN = 31, 29, 30

CONFIG = {
    "model_type": "llada",
    "d_model": 32,
    "n_heads": 2,
    "n_layers": 2,
    "mlp_hidden_size": 64,
    "vocab_size": 32,
    "embedding_size": 32,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
    "weight_tying": False,
    "max_sequence_length": 256,
    "mask_token_id": MASK,
    "pad_token_id": END,
    "eos_token_id": [END, TURN],
}


@pytest.fixture(scope="session")
def tiny_config():
    return CONFIG


@pytest.fixture
def config():
    return ModelConfig.from_json(CONFIG)


@pytest.fixture
def denoiser(config):
    torch.manual_seed(0)
    return build(config)


class Letters:
    """One id a letter (a = 0), <end> and <user> as special tokens: what a transformers tokenizer offers."""

    bos_token = None
    chat_template = "<user>..."
    special = ("<end>", "<user>")

    def get_added_vocab(self):
        return {token: END - at for at, token in enumerate(self.special)}

    def encode(self, text, add_special_tokens=False, **_):
        ids = []
        while text:
            token = next((token for token in self.special if text.startswith(token)), text[0])
            ids.append(self.get_added_vocab().get(token, ord(token[0]) - ord("a")))
            text = text[len(token) :]
        return ids

    def decode(self, ids, skip_special_tokens=True, **_):
        return "".join(chr(ord("a") + token) for token in ids if token < END - 1)

    def apply_chat_template(self, messages, **_):
        return f"<user>{messages[-1]['content']}"


@pytest.fixture
def tokenizer():
    return Tokenizer(Letters())
