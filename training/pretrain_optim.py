"""Muon for the blocks' matrices, AdamW for the rest, on float32 masters of the model's weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the quintic's coefficients, Jordan 2024


def orthogonalise(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Roughly the nearest semi-orthogonal matrices to float32 `matrices` [N, R, C], by Newton-Schulz."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum made orthogonal, matrices of one shape at once, in float32.

    torch.optim.Muon works in bfloat16, which is ten times slower on processors that do not multiply it.
    Rates are AdamW's (the update is scaled to a root mean square of 0.2, Liu et al., arXiv 2502.16982).
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.95})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix by its gradient."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = {}
            for weight in group["params"]:
                shapes.setdefault(weight.shape, []).append(weight)
            for shape, weights in shapes.items():
                updates = orthogonalise(torch.stack([self._momentum(w, group["momentum"]) for w in weights]))
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for weight, update in zip(weights, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)

    def _momentum(self, weight: nn.Parameter, momentum: float) -> Tensor:
        assert weight.grad is not None
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight.grad)
        buffer = state["momentum_buffer"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(buffer, momentum)


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
            self.optimisers.append(Muon(hidden, lr=muon_rate, weight_decay=decay))
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
