"""A tiny model and tokenizer for the training tests."""

import pytest
import torch

from harness.models.config import ModelConfig
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


@pytest.fixture
def config():
    return ModelConfig.from_json(CONFIG)


@pytest.fixture
def denoiser(config):
    torch.manual_seed(0)
    return build(config)


class LetterTokenizer:
    """One id a letter (a = 0), <end> and <user> as special tokens."""

    has_chat = True
    special_tokens = ("<end>", "<user>")

    def encode(self, text):
        ids, rest = [], text
        while rest:
            special = next((token for token in self.special_tokens if rest.startswith(token)), None)
            ids.append(END - self.special_tokens.index(special) if special else ord(rest[0]) - ord("a"))
            rest = rest[len(special or "x") :]
        return ids

    def chat(self, text):
        return self.encode(f"<user>{text}")


@pytest.fixture
def tokenizer():
    return LetterTokenizer()
