"""Models of the released shapes with random weights: for measuring speed and memory without a download."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from torch import nn

from harness.errors import UserError
from harness.models.config import ModelConfig
from harness.models.loading import LoadedModel, pick_device, pick_dtype
from harness.models.transformer import Denoiser

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "shapes"


def shapes() -> list[str]:
    """The names that `random_model` knows: one config.json of a release each."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def shape_config(shape: str, layers: int | None = None) -> ModelConfig:
    """The configuration of a release, or of only that many of its layers. Raises UserError if unknown."""
    path = FOLDER / f"{shape}.json"
    if not path.is_file():
        raise UserError(f"--shape {shape!r} is unknown; shapes are {', '.join(shapes())}")
    config = ModelConfig.from_json(json.loads(path.read_text()), str(path))
    return config if layers is None else dataclasses.replace(config, n_layers=layers)


def random_model(
    shape: str, *, dtype: str = "auto", device: str = "auto", seed: int = 0, layers: int | None = None
) -> LoadedModel:
    """A model of `shape` without tokenizer whose weights are drawn, on the device, from `seed`.

    Matrices are normal with variance 1 / fan-in, so that activations neither vanish nor overflow in
    bfloat16. Raises UserError for an unknown shape.
    """
    config = shape_config(shape, layers)
    place = pick_device(device)
    kind = pick_dtype(dtype, place)
    with torch.device("meta"):
        model = Denoiser(config)
    generator = torch.Generator(place).manual_seed(seed)
    for name, like in list(model.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        value = torch.empty(like.shape, dtype=kind, device=place)
        if like.ndim == 2:
            nn.init.normal_(value, std=like.shape[1] ** -0.5, generator=generator)
        else:
            value.fill_(leaf == "weight")  # norms are one, biases zero
        model.get_submodule(owner).register_parameter(leaf, nn.Parameter(value, requires_grad=False))
    return LoadedModel(
        f"random {shape}",
        FOLDER,
        model.eval(),
        None,
        config,
        str(kind).removeprefix("torch."),
        str(place),
        None,
    )
