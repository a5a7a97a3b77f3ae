"""What decides the demo model's weights: shape, data, stages and rates of its pretraining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerFast

from training.pretrain_tokenizer import TURN_END


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights; the model card says how the shipped run came to the defaults."""

    d_model: int = 128
    n_layers: int = 6
    n_heads: int = 4
    mlp_hidden: int = 384
    vocab: int = 768
    context: int = 512
    rope_theta: float = 10000.0
    sums: int = 40000  # train problems of each suite with arithmetic
    programs: int = 40000  # and of each suite of programs
    lists: int = 20000  # of single sums
    steps: int = 8000
    batch: int = 64
    adam_rate: float = 3e-3
    muon_rate: float = 7e-3
    decay: float = 0.01
    warmup: int = 100
    cooldown: float = 0.5  # share of the steps over which the rates fall to zero
    uniform: float = 0.3
    tied: float = 0.6
    drill: float = 0.3
    second_stage: int = 450
    frontier: float = 0.6
    third_stage: int = 1100  # what the shares and stages mean, pretrain_data.Noise says
    fourth_stage: int = 6500
    fourth_rate: float = 0.5  # peak of the fourth stage's own cycle of rates, as a share of the first's
    full: float = 0.12  # share of batches that leave the whole region for the answer
    region: int = 128
    block: int = 32
    dtype: str = "float32"
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rates' scale at a step, 0 to 1: warm-up, a plateau, then a linear fall to zero.

        The fourth stage repeats that once more, up to `fourth_rate`.
        """
        first = min(self.fourth_stage, self.steps)
        begin, end, peak = (0, first, 1.0) if step < first else (first, self.steps, self.fourth_rate)
        fall = (end - step) / max(1.0, self.cooldown * (end - begin))
        return peak * max(0.0, min(1.0, (step - begin + 1) / self.warmup, fall))


def config_json(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The config.json of LLaDA's releases for the recipe's shape and the tokenizer's ids."""
    return {
        "architectures": ["LLaDAModelLM"],
        "model_type": "llada",
        "activation_type": "silu",
        "block_type": "llama",
        "layer_norm_type": "rms",
        "d_model": recipe.d_model,
        "n_layers": recipe.n_layers,
        "n_heads": recipe.n_heads,
        "n_kv_heads": recipe.n_heads,
        "mlp_hidden_size": recipe.mlp_hidden,
        "embedding_size": len(tokenizer),
        "vocab_size": len(tokenizer),
        "max_sequence_length": recipe.context,
        "rope": True,
        "rope_theta": recipe.rope_theta,
        "rms_norm_eps": 1e-5,
        "include_bias": False,
        "include_qkv_bias": False,
        "weight_tying": False,
        "mask_token_id": tokenizer.mask_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": [tokenizer.pad_token_id, tokenizer.convert_tokens_to_ids(TURN_END)],
    }
