"""Muon for the blocks' matrices, AdamW for the rest, on float32 masters of bf16 weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Optimiser:
    """Steps float32 masters by the gradients of a model's (possibly bf16) weights and copies them back.

    muon_rate 0 trains everything by AdamW. Rates are those of the peak; `step` scales both.
    """

    def __init__(self, model: nn.Module, adam_rate: float, muon_rate: float, decay: float) -> None:
        self.weights = list(model.parameters())
        self.masters = [nn.Parameter(weight.detach().float().clone()) for weight in self.weights]
        named = list(zip((name for name, _ in model.named_parameters()), self.masters, strict=True))
        hidden = [p for name, p in named if muon_rate and p.ndim == 2 and ".blocks." in name]
        others = [p for p in self.masters if not any(p is h for h in hidden)]
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=adam_rate, betas=(0.9, 0.98), weight_decay=decay)
        ]
        if hidden:
            self.optimisers.append(
                torch.optim.Muon(hidden, lr=muon_rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            )
        self.peaks = [o.param_groups[0]["lr"] for o in self.optimisers]

    def step(self, scale: float, clip: float = 1.0) -> Tensor:
        """One update at `scale` times the peak rates. Returns the gradient's norm before clipping."""
        for weight, master in zip(self.weights, self.masters, strict=True):
            assert weight.grad is not None
            master.grad = weight.grad.float()
            weight.grad = None
        norm = nn.utils.clip_grad_norm_(self.masters, clip)
        for optimiser, peak in zip(self.optimisers, self.peaks, strict=True):
            optimiser.param_groups[0]["lr"] = peak * scale
            optimiser.step()
        self.publish()
        return norm

    def publish(self) -> None:
        """Copy the masters into the model's weights."""
        with torch.no_grad():
            for weight, master in zip(self.weights, self.masters, strict=True):
                weight.copy_(master)

    def state_dict(self) -> dict[str, Any]:
        """Masters and both optimisers' states."""
        return {
            "masters": [master.detach() for master in self.masters],
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`, exactly."""
        with torch.no_grad():
            for master, saved in zip(self.masters, state["masters"], strict=True):
                master.copy_(saved)
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.publish()
