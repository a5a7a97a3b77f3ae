"""The machine's floor: measured matmul rate and copy bandwidth, and what they allow a window at best."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from harness.bench.clock import seconds
from harness.flops import block_weights
from harness.models.config import ModelConfig

ROWS = 2048  # enough columns that a matmul is bound by arithmetic
COPY_BYTES = {"cpu": 128 << 20, "cuda": 1 << 30}  # far beyond any cache


@dataclass(frozen=True)
class Roofline:
    """flops: multiplications and additions a second of the best matmul. bandwidth: bytes copied a second,
    reading and writing both counted."""

    flops: float
    bandwidth: float

    def best(self, other: Roofline) -> Roofline:
        """The faster of two measurements, either rate for itself."""
        return Roofline(max(self.flops, other.flops), max(self.bandwidth, other.bandwidth))

    def floor(self, config: ModelConfig, window: Window, size: int) -> tuple[float, str]:
        """Seconds below which a forward of `window` cannot go, and what binds it: compute or memory.

        size: bytes of a weight. The last layer's columns that nobody reads are not counted, nor are norms,
        softmax and whatever could stay in registers.
        """
        matrices, layers = block_weights(config), config.n_layers
        kv = 2 * config.d_model * config.n_kv_heads * config.head_dim
        unread = (matrices // layers - kv) * (window.columns - window.read)
        head = config.d_model * config.vocab_rows
        attention = 4 * config.d_model * (window.pairs * (layers - 1) + window.read_pairs)
        work = 2 * (matrices * window.columns - unread + head * window.read) + attention
        stored = 2 * config.n_kv_heads * config.head_dim * layers * window.keys
        traffic = size * (matrices + head + stored)
        compute, memory = work / self.flops, traffic / self.bandwidth
        return max(compute, memory), "compute" if compute >= memory else "memory"


@dataclass(frozen=True)
class Window:
    """The shape of one forward, summed over its rows: columns recomputed, positions read, columns attended
    to, and query-key pairs of all columns and of those read."""

    columns: int
    read: int
    keys: int
    pairs: int
    read_pairs: int


def measure(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> Roofline:
    """Both rates, the best of repeated measurements, on the model's own MLP shape."""
    x = torch.randn(ROWS, config.d_model, device=device).to(dtype)
    weight = torch.randn(config.mlp_hidden, config.d_model, device=device).to(dtype)
    with torch.inference_mode():
        matmul = seconds(lambda: F.linear(x, weight), device, 5, 0.3).low
        source = torch.ones(COPY_BYTES.get(device.type, 1 << 28), dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        copy = seconds(lambda: target.copy_(source), device, 5, 0.3).low
    return Roofline(2 * ROWS * config.d_model * config.mlp_hidden / matmul, 2 * source.numel() / copy)
