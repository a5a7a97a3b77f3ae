"""From a model's name to a Denoiser on its device: the checkpoint's files, its ids, its adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from harness.errors import UserError
from harness.models.config import ModelConfig
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
    tokenizer: None
    config: ModelConfig
    dtype: str
    device: str
    adapter: str | None


def load_model(
    name_or_path: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    adapter: str | None = None,
    revision: str | None = None,
) -> LoadedModel:
    """Load a model by its name in `list models`, by hub id or from a local directory.

    dtype "auto" is bfloat16 on a GPU and float32 elsewhere. Raises UserError for anything the user can
    mend: an unknown name, missing or damaged files, an architecture of another family.
    """
    path = Path(name_or_path)
    place = pick_device(device)
    kind = pick_dtype(dtype, place)
    config = ModelConfig.from_dir(path)
    model = read_weights(path, config, kind, place)
    return LoadedModel(
        name_or_path, path, model, None, config, str(kind).removeprefix("torch."), str(place), adapter
    )


def pick_device(device: str) -> torch.device:
    """The torch device of a --device value; "auto" is a GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"--device {device!r} is unknown; use auto, cpu, cuda or cuda:N") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {device}: no CUDA device is visible; use --device cpu")
    return place


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The torch dtype of a --dtype value; "auto" is bfloat16 on a GPU and float32 elsewhere."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise UserError(f"--dtype {dtype!r} is unknown; use auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def read_weights(path: Path, config: ModelConfig, dtype: torch.dtype, device: torch.device) -> Denoiser:
    """Stream the safetensors of `path` into a module built without memory of its own.

    Each tensor goes from the mapped file to its place on the device in its final dtype, one at a time.
    Raises UserError for missing, damaged, foreign or wrongly shaped tensors and files.
    """
    with torch.device("meta"):
        model = Denoiser(config)
    expected = {name: parameter.shape for name, parameter in model.named_parameters()}
    ignored = (f"{model.names.head}.weight",) if config.tied else ()
    seen = set()
    for name, file in tensor_files(path):
        if name in ignored or name.endswith("rotary_emb.inv_freq"):
            continue
        if name not in expected:
            raise UserError(
                f"{file}: tensor {name!r} does not belong to a {config.family} model; "
                "config.json and the weights are of different models"
            )
        value = _read(file, name, expected[name], dtype, device)
        owner, _, leaf = name.rpartition(".")
        model.get_submodule(owner).register_parameter(leaf, nn.Parameter(value, requires_grad=False))
        seen.add(name)
    missing = sorted(expected.keys() - seen)
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(expected)} tensors are missing from the safetensors files, "
            f"the first {missing[0]!r}; download the checkpoint again or mend config.json"
        )
    return model.eval()


def tensor_files(path: Path) -> Iterator[tuple[str, Path]]:
    """Every tensor's name and file, in file order, of a single-file or sharded checkpoint."""
    index = path / INDEX
    if index.exists():
        try:
            listed = json.loads(index.read_text())["weight_map"]
        except (ValueError, KeyError, OSError) as error:
            raise UserError(f"{index} cannot be read ({error}); download it again") from error
        for shard in sorted(set(listed.values())):
            file = path / shard
            if not file.exists():
                raise UserError(f"{file} is missing though {INDEX} lists it; download the checkpoint again")
            held = set(_names(file))
            for name in sorted(name for name, at in listed.items() if at == shard):
                if name not in held:
                    raise UserError(f"{file} lacks tensor {name!r} that {INDEX} lists; download it again")
                yield name, file
    elif (path / SINGLE).exists():
        for name in _names(path / SINGLE):
            yield name, path / SINGLE
    else:
        raise UserError(f"{path} holds neither {SINGLE} nor {INDEX}; only safetensors checkpoints are read")


def _names(file: Path) -> list[str]:
    try:
        with safe_open(file, "pt") as handle:
            return list(handle.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is truncated or damaged ({error}); download it again") from error


def _read(file: Path, name: str, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    # Opened anew for each tensor: the pages mapped for the last one are let go.
    with safe_open(file, "pt", device=str(device)) as handle:
        value = handle.get_tensor(name)
    if value.shape != shape:
        raise UserError(
            f"{file}: tensor {name!r} is {list(value.shape)}, config.json says {list(shape)}; "
            "they are of different models"
        )
    # The copy outlives the file, which may be rewritten while the model is in use.
    return value.to(dtype, copy=device.type == "cpu")
