"""What a distillation needs of a device's memory, from the model's shape alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from harness.errors import UserError
from harness.models.config import ModelConfig
from harness.models.names import NAMES

GIB = 2**30
GPU_PARAMETERS = 1e9  # from here on a CPU would take weeks


@dataclass(frozen=True)
class Memory:
    """Bytes of a training step: frozen weights, adapter (weights, gradients, AdamW), activations."""

    weights: int
    adapter: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.adapter + self.activations

    def __str__(self) -> str:
        parts = (
            f"{self.weights / GIB:.1f} weights, {self.adapter / GIB:.1f} adapter with its optimizer,"
            f" {self.activations / GIB:.1f} activations"
        )
        return f"{self.total / GIB:.1f} GiB ({parts})"


def widths(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Input and output width of a layer's seven linear maps, by the last part of their names."""
    d, kv, hidden = config.d_model, config.n_kv_heads * config.head_dim, config.mlp_hidden
    by_role = {"q": (d, d), "k": (d, kv), "v": (d, kv), "o": (d, d)}
    by_role |= {"gate": (d, hidden), "up": (d, hidden), "down": (hidden, d)}
    return {path.rsplit(".", 1)[-1]: by_role[role] for role, path in NAMES[config.family].projections.items()}


def parameters(config: ModelConfig) -> int:
    """Number of weights in the checkpoint, biases and norms included."""
    layer = sum(a * b for a, b in widths(config).values()) + 2 * config.d_model
    if config.qkv_bias:
        layer += config.d_model + 2 * config.n_kv_heads * config.head_dim
    embeddings = config.vocab_rows * config.d_model * (1 if config.tied else 2)
    return config.n_layers * layer + embeddings + config.d_model


def estimate(
    config: ModelConfig,
    r: int,
    targets: tuple[str, ...],
    *,
    rows: int,
    length: int,
    block_length: int | None,
    checkpointing: bool,
) -> Memory:
    """Memory of a certainty-forcing step in bfloat16 with a float32 adapter under AdamW.

    rows: sequences in a micro-batch, each of them two views. The adapter takes 16 bytes a weight (value,
    gradient, two moments). Activations: some 18 vectors of the model's width and 5 of the MLP's for each
    column of a layer (norms, rotations and the adapter's inputs are float32), of all layers, or of one
    and every layer's input with checkpointing; and six float32 copies of the masked positions' logits.
    """
    shapes = widths(config)
    adapter = config.n_layers * r * sum(sum(shapes[name]) for name in targets)
    columns = 2 * rows * length
    layer = columns * 2 * (18 * config.d_model + 5 * config.mlp_hidden)
    kept = config.n_layers * (columns * 2 * config.d_model if checkpointing else layer)
    read = rows * min(length, block_length or length) * config.vocab_rows * 4 * 6
    return Memory(2 * parameters(config), 16 * adapter, kept + (layer if checkpointing else 0) + read)


def check_device(name: str, config: ModelConfig, need: Memory, device: torch.device, sharded: bool) -> None:
    """Raise UserError where a large model has no GPU, or one that is too small, saying what it needs."""
    if parameters(config) < GPU_PARAMETERS:
        return
    if device.type != "cuda":
        size = f"{parameters(config) / 1e9:.1f} B weights"
        raise UserError(f"{name} has {size} and no GPU is visible; distilling it needs a GPU with {need}")
    held = torch.cuda.get_device_properties(device).total_memory
    if held < need.total and not sharded:
        raise UserError(
            f"distilling {name} needs {need}, the GPU has {held / GIB:.1f} GiB; shard it or take a smaller r"
        )
