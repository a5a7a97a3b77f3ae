"""--model_args of lm-eval's model `dllm`: its keys, their types and how a spec stands among them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import UserError
from strategies.registry import nearest


@dataclass(frozen=True)
class ModelArgs:
    """What `dllm` can be told.

    pretrained: a name of `list models`, a hub id or a directory. gen_length: tokens to generate, by
    default the task's max_gen_toks. temperature: by default the task's where it samples, else 0. A
    sample draws from seed + its document's number. batch_size: rows decoded together.
    """

    pretrained: str = "demo"
    strategy: str = "fixed"
    gen_length: int | None = None
    block_length: int | None = None
    batch_size: int = 1
    dtype: str = "auto"
    device: str = "auto"
    revision: str | None = None
    temperature: float | None = None
    seed: int = 0

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> ModelArgs:
        """The arguments from a dictionary of strings or values; None leaves the default.

        Raises UserError for an unknown key and a value of another type or out of range.
        """
        return cls(**{key: _typed(key, value) for key, value in raw.items() if value is not None})


KEYS = {field.name: str(field.type).split(" ")[0] for field in dataclasses.fields(ModelArgs)}
LOWEST = {"gen_length": 1, "block_length": 1, "batch_size": 1, "temperature": 0}


def parse_model_args(text: str) -> dict[str, Any]:
    """--model_args as a dictionary; a spec's commas belong to it up to the next `,KEY=` of ModelArgs.

    Values may stand in quotes, and the whole may be a JSON object. Raises UserError for an unknown key
    or a malformed value.
    """
    text = text.strip()
    if text.startswith("{"):
        try:
            found = dict(json.loads(text))
        except ValueError as error:
            raise UserError(f"--model_args is not JSON ({error})") from error
    else:
        found = {}
        for item in re.split(rf",(?=(?:{'|'.join(KEYS)})=)", text.strip(",")) if text.strip(",") else ():
            key, equals, value = item.partition("=")
            if not equals:
                raise UserError(f"--model_args: {item!r} is not KEY=VALUE")
            stray = re.search(r",(\w+)=", value)
            if stray and key != "strategy":
                raise UserError(_unknown(stray[1]))
            found[key] = value[1:-1] if re.fullmatch(r"(['\"]).*\1", value) else value
    ModelArgs.read(found)
    return found


def _typed(key: str, value: Any) -> Any:
    if key not in KEYS:
        raise UserError(_unknown(key))
    kind = {"int": int, "float": float}.get(KEYS[key], str)
    try:
        number = kind(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"--model_args: {key}={value!r} is not a number") from error
    if key in LOWEST and number < LOWEST[key]:
        raise UserError(f"--model_args: {key}={value} must be at least {LOWEST[key]}")
    return number


def _unknown(key: str) -> str:
    return f"--model_args: unknown key {key!r}{nearest(key, KEYS)} (known: {', '.join(KEYS)})"
