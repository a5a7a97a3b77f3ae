"""What the decode loop needs to know of a checkpoint, read from its own config.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError


@dataclass(frozen=True)
class ModelConfig:
    """Shape and special tokens of a masked diffusion transformer.

    family: "llada" (Llama-like blocks) or "dream" (Qwen2-like blocks).
    shift: the prediction for position i is read at position i - 1 (Dream is adapted from an
        autoregressive model).
    terminators: end-of-text first, then the end-of-turn tokens, as the checkpoint's files name them.
    """

    family: str
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    mlp_hidden: int
    vocab_rows: int
    rope_theta: float
    rms_eps: float
    qkv_bias: bool
    tied: bool
    max_length: int
    mask_id: int
    pad_id: int
    bos_id: int | None
    terminators: tuple[int, ...]
    shift: bool

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads

    @classmethod
    def from_json(cls, raw: dict[str, Any], source: str = "config.json") -> ModelConfig:
        """Read the config.json of a LLaDA or Dream release.

        Raises UserError for an unknown model type, a missing key or an architecture variant that
        the releases do not use.
        """
        kind = str(raw.get("model_type", "")).lower()
        if kind not in READERS:
            raise UserError(
                f"{source}: model_type {raw.get('model_type')!r} is not one of {', '.join(sorted(READERS))};"
                " only masked diffusion checkpoints of these families can be decoded"
            )
        try:
            config = READERS[kind](raw, source)
        except KeyError as missing:
            raise UserError(
                f"{source}: key {missing} is missing; the file is not a {kind} config"
            ) from missing
        except (TypeError, ValueError) as error:
            raise UserError(f"{source}: a value is of the wrong kind ({error})") from error
        config._check(source)
        return config

    def _check(self, source: str) -> None:
        """Raise UserError for sizes that are no counts and ids that are none."""
        for name in (
            "d_model",
            "n_layers",
            "n_heads",
            "n_kv_heads",
            "mlp_hidden",
            "vocab_rows",
            "max_length",
        ):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise UserError(
                    f"{source}: the value read as {name}, {value!r}, is no whole number from 1 up"
                )
        if self.d_model % (2 * self.n_heads):
            raise UserError(
                f"{source}: d_model {self.d_model} over {self.n_heads} heads leaves no even width a head,"
                " which rotary positions need"
            )
        for name, ids in (("mask_token_id", (self.mask_id,)), ("eos_token_id", self.terminators)):
            for value in ids:
                if type(value) is not int or value < 0:
                    raise UserError(f"{source}: {name} {value!r} is no token id")
        if self.mask_id in self.terminators:
            raise UserError(f"{source}: token {self.mask_id} is both mask_token_id and eos_token_id")

    @classmethod
    def from_dir(cls, directory: Path) -> ModelConfig:
        """Read DIRECTORY/config.json. Raises UserError where it is absent or not JSON."""
        path = directory / "config.json"
        try:
            raw = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise UserError(
                f"{path} is missing; a model directory holds config.json and safetensors"
            ) from error
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as JSON: {error}") from error
        return cls.from_json(raw, str(path))


def _terminators(raw: dict[str, Any]) -> tuple[int, ...]:
    eos = raw["eos_token_id"]
    return tuple(eos) if isinstance(eos, list) else (eos,)


# What the releases have where a configuration could say otherwise.
LLADA_FIXED = {
    "block_type": "llama",
    "layer_norm_type": "rms",
    "activation_type": "silu",
    "rope": True,
    "alibi": False,
    "attention_layer_norm": False,
    "input_emb_norm": False,
    "scale_logits": False,
}
DREAM_FIXED = {"hidden_act": "silu", "rope_scaling": None, "use_sliding_window": False, "use_mrope": False}


def _check_fixed(raw: dict[str, Any], fixed: dict[str, Any], source: str) -> None:
    """Raise UserError for an architecture that the releases do not have and the model does not compute."""
    for key, supported in fixed.items():
        value = raw.get(key, supported)
        if value != supported and (value or supported):
            raise UserError(
                f"{source}: {key} {value!r} is not supported, only {supported!r} (as in the releases)"
            )


def _llada(raw: dict[str, Any], source: str) -> ModelConfig:
    _check_fixed(raw, LLADA_FIXED, source)
    heads = raw["n_heads"]
    ends = _terminators(raw)
    return ModelConfig(
        family="llada",
        d_model=raw["d_model"],
        n_layers=raw["n_layers"],
        n_heads=heads,
        n_kv_heads=raw.get("n_kv_heads") or (1 if raw.get("multi_query_attention") else heads),
        mlp_hidden=raw.get("mlp_hidden_size") or raw["mlp_ratio"] * raw["d_model"],
        vocab_rows=raw.get("embedding_size") or raw["vocab_size"],
        rope_theta=float(raw.get("rope_theta", 10000.0)),
        rms_eps=float(raw.get("rms_norm_eps", 1e-5)),
        qkv_bias=bool(raw.get("include_qkv_bias") or raw.get("include_bias")),
        tied=bool(raw.get("weight_tying", False)),
        max_length=raw["max_sequence_length"],
        mask_id=raw["mask_token_id"],
        pad_id=raw["pad_token_id"] if raw.get("pad_token_id") is not None else ends[0],
        bos_id=raw.get("bos_token_id"),
        terminators=ends,
        shift=False,
    )


def _dream(raw: dict[str, Any], source: str) -> ModelConfig:
    _check_fixed(raw, DREAM_FIXED, source)
    ends = _terminators(raw)
    return ModelConfig(
        family="dream",
        d_model=raw["hidden_size"],
        n_layers=raw["num_hidden_layers"],
        n_heads=raw["num_attention_heads"],
        n_kv_heads=raw["num_key_value_heads"],
        mlp_hidden=raw["intermediate_size"],
        vocab_rows=raw["vocab_size"],
        rope_theta=float(raw.get("rope_theta", 10000.0)),
        rms_eps=float(raw.get("rms_norm_eps", 1e-6)),
        qkv_bias=True,
        tied=bool(raw.get("tie_word_embeddings", False)),
        max_length=raw["max_position_embeddings"],
        mask_id=raw["mask_token_id"],
        pad_id=raw["pad_token_id"] if raw.get("pad_token_id") is not None else ends[0],
        bos_id=raw.get("bos_token_id"),
        terminators=ends,
        shift=True,
    )


READERS = {"llada": _llada, "dream": _dream}
