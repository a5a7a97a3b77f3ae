"""From a model's name to a Denoiser on its device: the checkpoint's files, its ids, its adapter."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from harness.errors import UserError
from harness.models.adapters import find_adapter, merge_adapter
from harness.models.catalog import entry_of, locate
from harness.models.config import ModelConfig
from harness.models.tokenizer import Tokenizer, load_tokenizer
from harness.models.transformer import Denoiser

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
DTYPES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
}


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint ready to decode. tokenizer is None where the directory holds no tokenizer files."""

    name: str
    path: Path
    model: Denoiser
    tokenizer: Tokenizer | None
    config: ModelConfig
    dtype: str
    device: str
    adapter: str | None

    def need_tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises UserError where the checkpoint has none."""
        if self.tokenizer is None:
            raise UserError(
                f"{self.path} has no tokenizer files to read text with; add tokenizer.json or give prompt_ids"
            )
        return self.tokenizer


def load_model(
    name_or_path: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    adapter: str | None = None,
    revision: str | None = None,
) -> LoadedModel:
    """Load a model by its name in `list models`, by hub id or from a local directory.

    adapter: a name from the model's adapters/ folder or a path, merged into the weights; a name under
    which the catalog knows a released full checkpoint loads that checkpoint. dtype "auto" is bfloat16 on
    a GPU and float32 elsewhere. Raises UserError for anything the user can mend: an unknown name, missing
    or damaged files, an architecture of another family, an adapter that does not fit.
    """
    place = pick_device(device)
    kind = pick_dtype(dtype, place)
    entry = entry_of(name_or_path)
    merged = entry.merged.get(adapter) if entry and adapter else None
    path = locate(merged or name_or_path, None if merged else revision)
    tokenizer = load_tokenizer(path)
    config = read_config(path, tokenizer)
    at = find_adapter(path, adapter) if adapter and not merged else None  # before the slow part
    model = read_weights(path, config, kind, place)
    if at is not None:
        merge_adapter(model, at)
    return LoadedModel(
        name_or_path,
        path,
        model,
        tokenizer,
        config,
        str(kind).removeprefix("torch."),
        str(place),
        adapter,
    )


def pick_device(device: str) -> torch.device:
    """The torch device of a --device value; "auto" is a GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    unknown = f"--device {device!r} is unknown; use auto, cpu, cuda or cuda:N"
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise UserError(unknown) from error
    if place.type not in ("cpu", "cuda"):
        raise UserError(unknown)
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"--device {device}: {torch.cuda.device_count()} CUDA devices are visible; use auto or cpu"
        )
    return place


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The torch dtype of a --dtype value; "auto" is bfloat16 on a GPU and float32 elsewhere."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype!r} is unknown; use auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def read_config(path: Path, tokenizer: Tokenizer | None) -> ModelConfig:
    """The configuration of the checkpoint in `path`, its ids gathered from all of its files.

    config.json speaks first, then generation_config.json, then the tokenizer; terminators are the union
    of what they name, config.json's first. Raises UserError for another family or a mismatched tokenizer.
    """
    file = path / "config.json"
    raw = _read_json(file)
    generation = (
        _read_json(path / "generation_config.json") if (path / "generation_config.json").exists() else {}
    )
    for key in ("mask_token_id", "eos_token_id", "pad_token_id", "bos_token_id"):
        if raw.get(key) is None and generation.get(key) is not None:
            raw[key] = generation[key]
    if tokenizer is not None:
        if raw.get("mask_token_id") is None and (mask := tokenizer.mask_id()) is not None:
            raw["mask_token_id"] = mask
        if raw.get("eos_token_id") is None and tokenizer.terminators():
            raw["eos_token_id"] = tokenizer.terminators()
    # transformers 5 writes the rotary base inside rope_parameters.
    if isinstance(rope := raw.get("rope_parameters"), dict):
        if rope.get("rope_type", "default") != "default":
            raise UserError(
                f"{file}: rope_type {rope['rope_type']!r} is not supported (the releases use default)"
            )
        raw.setdefault("rope_theta", rope.get("rope_theta"))
    config = ModelConfig.from_json({key: value for key, value in raw.items() if value is not None}, str(file))
    also = generation.get("eos_token_id") or []
    ends = [*config.terminators, *(also if isinstance(also, list) else [also])]
    ends += tokenizer.terminators() if tokenizer else []
    size = max([config.mask_id, *ends] + ([tokenizer.size - 1] if tokenizer else [])) + 1
    if size > config.vocab_rows:
        raise UserError(
            f"{path}: token ids go up to {size - 1} but config.json gives the embedding {config.vocab_rows} "
            "rows; the tokenizer and the weights are of different models"
        )
    return dataclasses.replace(config, terminators=tuple(dict.fromkeys(ends)))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing; a model directory holds config.json and safetensors files"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path} does not hold a JSON object")
    return raw


def read_weights(path: Path, config: ModelConfig, dtype: torch.dtype, device: torch.device) -> Denoiser:
    """Stream the safetensors of `path` into a module built without memory of its own.

    Each tensor goes from the mapped file to its place on the device in its final dtype, one at a time.
    Raises UserError for missing, damaged, foreign or wrongly shaped tensors and files.
    """
    with torch.device("meta"):
        model = Denoiser(config)
    expected = {name: parameter.shape for name, parameter in model.named_parameters()}
    ignored = {f"{model.names.head}.weight"} if config.tied else set()
    for name, file in tensor_files(path):
        if name in ignored or name.endswith("rotary_emb.inv_freq"):
            continue
        if name not in expected:
            raise UserError(
                f"{file}: tensor {name!r} does not belong to the model that config.json describes; "
                "they are of different models"
            )
        value = _read_tensor(file, name, expected.pop(name), dtype, device)
        owner, _, leaf = name.rpartition(".")
        model.get_submodule(owner).register_parameter(leaf, nn.Parameter(value, requires_grad=False))
    if expected:
        raise UserError(
            f"{path}: {len(expected)} tensors are missing from the safetensors files, the first "
            f"{min(expected)!r}; download the checkpoint again or mend config.json"
        )
    return model.eval()


def tensor_files(path: Path) -> Iterator[tuple[str, Path]]:
    """Every tensor's name and file, file by file, of a single-file or sharded checkpoint."""
    if (path / INDEX).exists():
        listed = _read_json(path / INDEX).get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(file, str) for file in listed.values()):
            raise UserError(f"{path / INDEX} has no weight_map; download it again")
        held = {file: _tensor_names(path / file) for file in sorted(set(listed.values()))}
        for name, file in sorted(listed.items(), key=lambda item: item[1]):
            if name not in held[file]:
                raise UserError(
                    f"{path / file} lacks the tensor {name!r} that {INDEX} lists; download it again"
                )
            yield name, path / file
    elif (path / SINGLE).exists():
        for name in _tensor_names(path / SINGLE):
            yield name, path / SINGLE
    else:
        raise UserError(f"{path} holds neither {SINGLE} nor {INDEX}; only safetensors checkpoints are read")


def _tensor_names(file: Path) -> list[str]:
    if not file.exists():
        raise UserError(f"{file} is missing though {INDEX} lists it; download the checkpoint again")
    try:
        with safe_open(file, "pt") as handle:
            return list(handle.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is truncated or damaged ({error}); download it again") from error


def _read_tensor(
    file: Path, name: str, shape: torch.Size, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    # Opened anew for each tensor, so that the pages mapped for the one before are let go.
    with safe_open(file, "pt", device=str(device)) as handle:
        value = handle.get_tensor(name)
    if value.shape != shape:
        raise UserError(
            f"{file}: tensor {name!r} is {list(value.shape)}, config.json says {list(shape)}; "
            "they are of different models"
        )
    # On the CPU the tensor is still the mapped file, which may be rewritten while the model is in use.
    return value.to(dtype, copy=device.type == "cpu")


def save_model(
    model: Denoiser, config_json: dict[str, Any], directory: Path, *, max_shard_size: str | int = "5GB"
) -> None:
    """Write config.json and safetensors (with an index from two shards on) in the Hugging Face format.

    The weights are complete on disk before they replace those of an earlier save, file by file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    state = {name: parameter.detach() for name, parameter in model.named_parameters()}
    plan = split_torch_state_dict_into_shards(state, max_shard_size=max_shard_size)
    for file, names in plan.filename_to_tensors.items():
        save_file(
            {name: state[name].contiguous() for name in names}, directory / f"{file}.part", {"format": "pt"}
        )
    for old in (directory / SINGLE, *directory.glob("model-*-of-*.safetensors"), directory / INDEX):
        if old.name not in plan.filename_to_tensors:
            old.unlink(missing_ok=True)
    for file in plan.filename_to_tensors:
        os.replace(directory / f"{file}.part", directory / file)
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    (directory / "config.json").write_text(json.dumps(config_json, indent=2) + "\n")
