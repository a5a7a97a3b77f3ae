"""What a distillation step minimises, from a batch of trajectories to a scalar."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from training.consistency import draw_states
from training.losses import certainty, certainty_forcing, divergence
from training.masking import RowRandom, forward_masking
from training.settings import Loss

Batch = dict[str, Tensor]


class Teacher(Protocol):
    """Gives a context in which the model answers as its teacher: the adapter is switched off."""

    def __call__(self) -> AbstractContextManager[None]: ...


class Objective(Protocol):
    """A loss of one batch: the scalar to minimise and named terms for the log."""

    def __call__(
        self, model: nn.Module, batch: Batch, randomness: Sequence[RowRandom], teacher: Teacher
    ) -> tuple[Tensor, dict[str, Tensor]]: ...


@dataclass(frozen=True)
class CertaintyForcing:
    """dParallel's distillation (arXiv 2509.26488): both complementary views in one forward."""

    loss: Loss
    mask_id: int

    def __call__(
        self, model: nn.Module, batch: Batch, randomness: Sequence[RowRandom], teacher: Teacher
    ) -> tuple[Tensor, dict[str, Tensor]]:
        tokens, lengths = batch["tokens"], batch["lengths"]
        views = forward_masking(
            tokens,
            batch["prompt_lengths"].tolist(),
            randomness,
            mask_id=self.mask_id,
            block_length=self.loss.block_length,
            lengths=lengths.tolist(),
            ratio=self.loss.ratio,
        )
        read = torch.cat((views.masked, views.masked_rev))
        # One forward of both views: DDP and FSDP expect one forward a backward.
        logits = model(torch.cat((views.noisy, views.noisy_rev)), torch.cat((lengths, lengths)), read=read)
        count = int(views.masked.sum())
        one = certainty(logits[:count], tokens[views.masked], self.loss.temperature)
        two = certainty(logits[count:], tokens[views.masked_rev], self.loss.temperature)
        read_in_all = max(one.masked + two.masked, 1)
        return certainty_forcing(one, two, self.loss.entropy_weight), {
            "cross_entropy": (one.cross_entropy + two.cross_entropy).detach() / 2,
            "entropy": (one.entropy + two.entropy).detach() / 2,
            "correct": torch.tensor((one.correct + two.correct) / read_in_all),
        }


@dataclass(frozen=True)
class Consistency:
    """Consistency distillation along the teacher's own trajectory; see training/consistency.py."""

    loss: Loss
    mask_id: int

    def __call__(
        self, model: nn.Module, batch: Batch, randomness: Sequence[RowRandom], teacher: Teacher
    ) -> tuple[Tensor, dict[str, Tensor]]:
        tokens, lengths = batch["tokens"], batch["lengths"]
        states = draw_states(
            tokens,
            batch["commit_step"],
            batch["prompt_lengths"].tolist(),
            lengths.tolist(),
            randomness,
            mask_id=self.mask_id,
            block_length=self.loss.block_length,
        )
        with torch.no_grad(), teacher():
            target = model(states.later, lengths, read=states.open)
        logits = model(states.earlier, lengths, read=states.committed | states.open)
        # `read` lists positions in row-major order; this says which of them the later state has committed.
        done = states.committed[states.committed | states.open]
        view = certainty(logits[done], tokens[states.committed])
        drift = divergence(logits[~done], target)
        return view.cross_entropy + self.loss.consistency_weight * drift, {
            "cross_entropy": view.cross_entropy.detach(),
            "divergence": drift.detach(),
            "correct": torch.tensor(view.correct / max(view.masked, 1)),
        }


def objective(loss: Loss, mask_id: int) -> Objective:
    """The objective a configuration names."""
    return (CertaintyForcing if loss.objective == "certainty-forcing" else Consistency)(loss, mask_id)
