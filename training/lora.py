"""Putting a LoRA adapter on a denoiser: peft's format, the layers' own module names, checked."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PretrainedConfig

from harness.errors import UserError
from harness.models.transformer import Denoiser
from training.settings import Lora


def check_targets(targets: tuple[str, ...], linear: Collection[str], family: str) -> None:
    """Raise UserError naming every target that is none of the layers' linear maps."""
    absent = [name for name in targets if name not in linear]
    if absent or not targets:
        raise UserError(
            f"lora targets {', '.join(absent) or '(none)'} match no linear map of this {family}"
            f" model; its layers have {', '.join(sorted(linear))}"
        )


def target_pattern(model: Denoiser, targets: tuple[str, ...]) -> str:
    """A regular expression of the linear maps inside the layers that bear one of the names.

    Only inside the layers: LLaDA calls both the MLP's last map and the output head `ff_out`. Raises
    UserError naming every target that matches nothing, where peft would adapt the others in silence.
    """
    inside = re.compile(rf"{re.escape(model.names.layers)}\.\d+\.")
    linear = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and inside.match(name)
    }
    check_targets(targets, linear, model.config.family)
    return rf"{re.escape(model.names.layers)}\.\d+\.(?:\w+\.)*(?:{'|'.join(targets)})"


def adapt(model: Denoiser, lora: Lora) -> PeftModel:
    """The model with a fresh adapter as its only trainable weights. Raises UserError for absent targets.

    The Trainer writes to its model's config, TensorBoard prints it and DeepSpeed sizes its buckets by
    its hidden_size, so the wrapped model gets one of transformers' own.
    """
    student = get_peft_model(
        model,
        LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=target_pattern(model, lora.targets),
        ),
    )
    facts: dict[str, Any] = {**asdict(model.config), "hidden_size": model.config.d_model}
    setattr(student, "config", PretrainedConfig(**facts))  # noqa: B010, the stubs call it a tensor
    return student


def checkpoint_layers(model: Denoiser) -> None:
    """Keep only the layers' inputs for the backward pass and recompute the rest there."""
    for block in model.blocks:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
