"""Per-sample randomness: a generator each, so that a batch samples what each sample would alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def row_noise(
    generators: Sequence[torch.Generator], counts: Sequence[int], device: torch.device
) -> Callable[[str, int], Tensor]:
    """A source of noise for one step: `noise(kind, width)` is [sum(counts), width] in float64.

    generators, counts: one a row, the positions read of it. kind: "uniform" in [0, 1), or "gumbel",
    standard Gumbel, so that argmax(logits + temperature * noise) samples softmax(logits / temperature).
    """

    def noise(kind: str, width: int) -> Tensor:
        draws = [
            torch.rand((count, width), generator=generator, dtype=torch.float64, device=device)
            for generator, count in zip(generators, counts, strict=True)
        ]
        uniform = torch.cat(draws)
        if kind == "uniform":
            return uniform
        return -(-uniform.clamp_min(torch.finfo(torch.float64).tiny).log()).log()

    return noise


def seeded(seed: int, device: torch.device) -> torch.Generator:
    """A generator on `device` that depends on the sample's seed alone, any whole number."""
    return torch.Generator(device=device).manual_seed(seed % 2**64)
