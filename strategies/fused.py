"""What a step's logits tell, by one Triton kernel on a GPU: read once from memory, a second time from cache.

Import it through `predictions.fused_scan`: Triton comes with torch for CUDA on Linux, not with others.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 16384  # logits of a row weighed at once
WARPS = 16


@triton.jit(do_not_specialize=["count"])  # differs from step to step
def _scan(logits, tokens, out, count, width: tl.constexpr, ENTROPY: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    base = logits + row.to(tl.int64) * width
    peaks = tl.full([BLOCK], float("-inf"), tl.float32)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        peaks = tl.maximum(peaks, tl.load(base + at, at < width, float("-inf")).to(tl.float32))
    peak = tl.max(peaks, 0)
    token = tl.load(tokens + row)
    rest = tl.zeros([BLOCK], tl.float32)
    mean = tl.zeros([BLOCK], tl.float32)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < width
        shifted = tl.load(base + at, inside, 0.0).to(tl.float32) - peak
        weight = tl.exp(shifted)
        rest += tl.where(inside & (at != token), weight, 0.0)
        if ENTROPY:
            mean += tl.where(inside, shifted * weight, 0.0)
    own = tl.exp(tl.load(base + token).to(tl.float32) - peak).to(tl.float64)
    total = own + tl.sum(rest, 0).to(tl.float64)
    tl.store(out + row, own / total)
    tl.store(out + count + row, total)
    if ENTROPY:
        tl.store(out + 2 * count + row, tl.sum(mean, 0).to(tl.float64) / total)


def scan(logits: Tensor, tokens: Tensor, entropy: bool) -> Tensor:
    """[2 or 3, n] float64 of logits [n, V] and tokens [n]: the tokens' probabilities, the sums of exp(logit -
    peak) and, where asked for, the means of logit - peak under the softmax."""
    logits = logits.contiguous()
    count, width = logits.shape
    out = torch.empty((3 if entropy else 2, count), dtype=torch.float64, device=logits.device)
    _scan[(count,)](logits, tokens, out, count, width, ENTROPY=entropy, BLOCK=BLOCK, num_warps=WARPS)
    return out


def probe() -> None:
    """Raise whatever launching the kernel raises on the current GPU."""
    logits = torch.zeros(1, 2, device="cuda")
    scan(logits, torch.zeros(1, dtype=torch.int64, device="cuda"), False)
