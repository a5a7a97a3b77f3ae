"""A layer's elementwise work: norm, rotation, gate; by fused kernels where they apply."""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strategies.kernels import kernels

HALVES = (torch.bfloat16, torch.float16)


def kernels_for(x: Tensor) -> ModuleType | None:
    """The fused kernels where they apply to x: in inference, on a GPU, in half precision."""
    applies = x.dtype in HALVES and torch.is_inference_mode_enabled()
    return kernels("harness.models.fused", x.device) if applies else None


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in at least float32 whatever the dtype of the model."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if kernels := kernels_for(x):
            return kernels.norm(x, self.weight, self.eps)
        if x.dtype in HALVES:
            return F.rms_norm(x.float(), self.weight.shape, None, self.eps).to(x.dtype) * self.weight
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of x [..., T, H, D] with the tables of `Denoiser.rope`, in at least float32."""
    if kernels := kernels_for(x):
        return kernels.rotate(x, cos, sin)
    wide = x.to(cos.dtype)
    return torch.addcmul(wide * cos, wide.roll(x.shape[-1] // 2, -1), sin).to(x.dtype)


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, of any one shape."""
    if kernels := kernels_for(gate):
        return kernels.gated(gate, up)
    return F.silu(gate) * up
