"""LoRA adapters in peft's format, merged into the weights at load so that decoding pays nothing for them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from harness.errors import UserError
from harness.models.transformer import Denoiser

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
TENSOR = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<factor>[AB])(?:\.default)?\.weight")
# peft features that are more than W + scale * B @ A, or that change the base weights beside it.
UNSUPPORTED = (
    "use_dora",
    "lora_bias",
    "use_qalora",
    "layer_replication",
    "target_parameters",
    "alora_invocation_tokens",
    "trainable_token_indices",
    "modules_to_save",
    "fan_in_fan_out",
)
REBASING = ("pissa", "olora", "corda", "loftq", "lora_ga")


def find_adapter(model_dir: Path, name_or_path: str) -> Path:
    """The directory of an adapter: MODEL/adapters/NAME, or a path. Raises UserError where there is none."""
    for path in (model_dir / "adapters" / name_or_path, Path(name_or_path).expanduser()):
        if (path / CONFIG).is_file():
            return path
    held = sorted(path.parent.name for path in model_dir.glob(f"adapters/*/{CONFIG}"))
    has = f"it has {', '.join(held)}" if held else "it has none"
    raise UserError(
        f"no adapter {name_or_path!r} for the model in {model_dir}: {has} in adapters/; "
        f"a path to a directory with {CONFIG} works too"
    )


@torch.no_grad()
def merge_adapter(model: Denoiser, directory: Path) -> None:
    """Add scale * B @ A of every adapted matrix to `model` in place, computed in at least float32.

    Equals peft's merge_and_unload. Raises UserError for an adapter of another model, damaged files, and
    peft features beyond plain and rank-stabilised LoRA.
    """
    config = _read_config(directory)
    modules = dict(model.named_modules())
    for name, (down, up) in _factors(directory / WEIGHTS, model.device).items():
        weight = getattr(modules.get(name), "weight", None)
        if weight is None or weight.ndim != 2:
            raise UserError(
                f"{directory}: the adapter changes {name!r}, which a {model.config.family} model has not; "
                "it belongs to another model"
            )
        if weight.shape != (up.shape[0], down.shape[1]) or up.shape[1] != down.shape[0]:
            raise UserError(
                f"{directory}: the adapter of {name!r} has shapes {list(up.shape)} and {list(down.shape)}, "
                f"the model's matrix is {list(weight.shape)}; it belongs to another model"
            )
        wide = torch.promote_types(weight.dtype, torch.float32)
        change = up.to(wide) @ down.to(wide)
        weight.copy_(weight.to(wide) + _scale(config, name, down.shape[0]) * change)


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG
    try:
        config = json.loads(path.read_text())
        kind = config.get("peft_type")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} cannot be read as an adapter's JSON ({error})") from error
    if kind != "LORA":
        raise UserError(f"{path}: peft_type {kind!r} is not supported, only LORA")
    used = [key for key in UNSUPPORTED if config.get(key)]
    if config.get("bias", "none") != "none":
        used.append("bias")
    if str(config.get("init_lora_weights")).lower().startswith(REBASING):
        used.append(f"init_lora_weights={config['init_lora_weights']}")
    if used:
        raise UserError(f"{path}: {', '.join(used)} is not supported; merge the adapter with peft first")
    return config


def _factors(path: Path, device: torch.device) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Module name -> (A [r, in], B [out, r]) of every adapted module."""
    halves: dict[str, dict[str, torch.Tensor]] = {}
    try:
        with safe_open(path, "pt", device=str(device)) as handle:
            for key in handle.keys():  # noqa: SIM118, a safetensors handle does not iterate
                match = TENSOR.fullmatch(key)
                if match is None:
                    raise UserError(f"{path}: tensor {key!r} is not a LoRA factor; only plain LoRA is read")
                halves.setdefault(match["module"], {})[match["factor"]] = handle.get_tensor(key)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is missing, truncated or damaged ({error})") from error
    for module, pair in halves.items():
        if len(pair) != 2:
            raise UserError(f"{path}: {module!r} has only one of lora_A and lora_B; the file is damaged")
    if not halves:
        raise UserError(f"{path} holds no tensors; the adapter would change nothing")
    return {module: (pair["A"], pair["B"]) for module, pair in halves.items()}


def _scale(config: dict[str, Any], module: str, rank: int) -> float:
    """alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA; alpha_pattern overrides by module name."""
    alpha = config.get("lora_alpha", 8)
    for pattern, special in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            alpha = special
            break
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
