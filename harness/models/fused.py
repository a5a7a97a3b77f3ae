"""A layer's elementwise work on a GPU, one Triton kernel each: norm, rotation, gate.

Plain operations read and write a step's activations three to six times where these do it once, at 8B
shape a fifth of a full forward (PERFORMANCE.md). Each kernel rounds where the plain operations round, so
that the two differ by the order of a sum and the last bit of an exponential. Import it through
`elementwise.kernels_for`: Triton comes with torch for CUDA on Linux, not with others.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

WARPS = 8
GATE_BLOCK = 2048  # elements of a program


@triton.jit
def _norm(x, weight, out, width, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * width
    at = tl.arange(0, BLOCK)
    inside = at < width
    value = tl.load(x + row + at, inside, 0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(value * value, 0) / width + eps)
    normed = (value * scale).to(out.dtype.element_ty).to(tl.float32)
    scaled = normed * tl.load(weight + at, inside, 0.0).to(tl.float32)
    tl.store(out + row + at, scaled.to(out.dtype.element_ty), inside)


@triton.jit(do_not_specialize=["length"])  # differs from step to step
def _rotate(x, cos, sin, out, stride, length, heads, HALF: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < heads * HALF
    pair = at % HALF
    low = (at // HALF) * 2 * HALF + pair
    x += row * stride
    out += row * heads * 2 * HALF
    angle = (row % length) * 2 * HALF + pair
    c = tl.load(cos + angle)
    s = tl.load(sin + angle + HALF)  # the tables hold the sine negated in their first half
    first = tl.load(x + low, inside, 0.0).to(tl.float32)
    second = tl.load(x + low + HALF, inside, 0.0).to(tl.float32)
    tl.store(out + low, (first * c - second * s).to(out.dtype.element_ty), inside)
    tl.store(out + low + HALF, (second * c + first * s).to(out.dtype.element_ty), inside)


@triton.jit
def _gate(gate, up, out, stride, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    value = tl.load(gate + row * stride + at, inside, 0.0).to(tl.float32)
    silu = (value / (1.0 + tl.exp(-value))).to(out.dtype.element_ty).to(tl.float32)
    product = silu * tl.load(up + row * stride + at, inside, 0.0).to(tl.float32)
    tl.store(out + row * width + at, product.to(out.dtype.element_ty), inside)


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm of x [..., d] in float32, rounded to x's dtype before and after the weight."""
    x, width = x.contiguous(), x.shape[-1]
    out = torch.empty_like(x)
    _norm[(x.numel() // width,)](
        x, weight, out, width, eps, BLOCK=triton.next_power_of_2(width), num_warps=WARPS
    )
    return out


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of x [..., T, H, D] in float32; cos, sin: [T, 1, D] float32 of `Denoiser.rope`.

    x may be the first heads of wider rows.
    """
    heads, size = x.shape[-2:]
    rows = x.flatten(0, -3)
    if rows.stride()[1:] != (size, 1):
        rows = rows.contiguous()
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    half = size // 2
    _rotate[(len(rows),)](
        rows,
        cos.contiguous(),
        sin.contiguous(),
        out,
        rows.stride(0),
        cos.shape[0],
        heads,
        HALF=half,
        BLOCK=triton.next_power_of_2(heads * half),
        num_warps=WARPS,
    )
    return out


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, [..., d] each, silu rounded to the dtype before the product.

    They may be parts of wider rows, both of the same.
    """
    width = gate.shape[-1]
    gate_rows, up_rows = gate.flatten(0, -2), up.flatten(0, -2)
    if gate_rows.stride() != up_rows.stride() or gate_rows.stride(1) != 1:
        gate_rows, up_rows = gate_rows.contiguous(), up_rows.contiguous()
    out = torch.empty(gate.shape, dtype=gate.dtype, device=gate.device)
    grid = (len(gate_rows), triton.cdiv(width, GATE_BLOCK))
    _gate[grid](gate_rows, up_rows, out, gate_rows.stride(0), width, BLOCK=GATE_BLOCK)
    return out


def probe() -> None:
    """Raise whatever launching a kernel raises on the current GPU."""
    gated(*torch.zeros(2, 1, 1, dtype=torch.bfloat16, device="cuda"))
