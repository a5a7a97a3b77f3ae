"""Estimated floating-point operations of a decoded sample, from its trace alone."""

from __future__ import annotations

from collections.abc import Sequence

from harness.models.config import ModelConfig


def block_weights(config: ModelConfig) -> int:
    """Weights of the matrices that every recomputed column passes through, all layers together."""
    kv = config.n_kv_heads * config.head_dim
    attention = config.d_model * (2 * config.d_model + 2 * kv)
    mlp = 3 * config.d_model * config.mlp_hidden
    return config.n_layers * (attention + mlp)


def positions_read(commit_step: Sequence[int], block_length: int) -> int:
    """Logits computed for a sample: at every forward, one for each mask left in the active block.

    commit_step: the forward (from 1) that committed each output token, 0 where none did. A block's
    forwards begin behind the last commit of the blocks before it.
    """
    read = before = 0
    for first in range(0, len(commit_step), block_length):
        steps = commit_step[first : first + block_length]
        read += sum(max(0, step - before) for step in steps)
        before = max(before, *steps)
    return read


def estimate(
    config: ModelConfig,
    *,
    query_tokens: int,
    prompt_tokens: int,
    commit_step: Sequence[int],
    block_length: int,
) -> float:
    """Multiplications and additions of one sample's forwards.

    2 * (weights of the blocks) a query token, 4 * d_model * keys a query token and layer for the
    attention's two products, 2 * d_model * vocabulary a position read for the lm_head. keys is the
    prompt and the output, as if the row had had its final end from the start; norms, rotary embedding
    and softmax are left out. An estimate for comparing strategies, not a hardware counter.
    """
    keys = prompt_tokens + len(commit_step)
    blocks = 2 * block_weights(config) * query_tokens
    attention = 4 * config.d_model * keys * query_tokens * config.n_layers
    head = 2 * config.d_model * config.vocab_rows * positions_read(commit_step, block_length)
    return float(blocks + attention + head)
