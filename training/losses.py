"""The distillation losses: pure functions of logits, labels and masks."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

TINY = 1e-12  # inside the logarithm of a probability, as in the reference


class Certainty(NamedTuple):
    """The terms of one view: scalars, and how many positions each was averaged over."""

    cross_entropy: Tensor
    entropy: Tensor
    masked: int
    correct: int


def certainty(logits: Tensor, labels: Tensor, temperature: float = 0.5) -> Certainty:
    """Cross-entropy, and the entropy of what is already right, over one view's masked positions.

    logits: [N, V] at the masked positions. labels: [N]. The entropy in nats is that of the tempered
    distribution and is averaged over the positions whose argmax is the label, so that certainty is forced
    only where it is deserved. A term with nothing to average is 0 and still has a gradient (of zeros).
    Source: arXiv 2509.26488.
    """
    logits = logits.float()
    nothing = 0.0 * logits.sum()
    right = logits[logits.argmax(-1) == labels]
    probabilities = (right / temperature).softmax(-1)
    entropies = -(probabilities * (probabilities + TINY).log()).sum(-1)
    return Certainty(
        F.cross_entropy(logits, labels) if len(labels) else nothing,
        entropies.mean() if len(right) else nothing,
        len(labels),
        len(right),
    )


def certainty_forcing(view: Certainty, view_rev: Certainty, entropy_weight: float) -> Tensor:
    """dParallel's loss of two complementary views: both cross-entropies and the weighted entropies."""
    return view.cross_entropy + view_rev.cross_entropy + entropy_weight * (view.entropy + view_rev.entropy)


def divergence(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Mean KL(target || prediction) in nats over the positions of [N, V] logits; 0 where N is 0."""
    if not len(logits):
        return 0.0 * logits.float().sum()
    return F.kl_div(
        logits.float().log_softmax(-1),
        target_logits.float().log_softmax(-1),
        log_target=True,
        reduction="batchmean",
    )
