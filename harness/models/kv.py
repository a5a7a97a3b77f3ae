"""The KV store: one preallocated buffer in which column = position = slot of a key."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.models.config import ModelConfig


class KVStore:
    """Keys (already rotated) and values of `slots` samples, up to `length` columns each.

    keys, values: a list of [slots, length, n_kv_heads, head_dim] tensors, one a layer. A row keeps its
    slot from admission to its end, so nothing is ever moved, concatenated or trimmed.
    """

    def __init__(
        self, config: ModelConfig, slots: int, length: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (slots, length, config.n_kv_heads, config.head_dim)
        self.length = length
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]

    def write(self, layer: int, at: Tensor, keys: Tensor, values: Tensor) -> None:
        """Put keys and values [T, n_kv_heads, head_dim] at flat columns `at` [T] = slot * length + column."""
        self.keys[layer].flatten(0, 1).index_copy_(0, at, keys)
        self.values[layer].flatten(0, 1).index_copy_(0, at, values)
