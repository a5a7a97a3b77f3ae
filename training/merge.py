"""`python -m training merge`: an adapter into its base weights, saved in the base's own format."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness.errors import UserError

LARGE = 1e9  # weights


def add_parser(subparsers: Any) -> None:
    """Register the command; nothing heavy is imported until it runs."""
    parser = subparsers.add_parser("merge", description=__doc__)
    parser.add_argument("--model", default="demo", help="name, hub id or directory of the base model")
    parser.add_argument("--adapter", required=True, help="name in the model's adapters/, or a directory")
    parser.add_argument("--output", type=Path, required=True, help="directory of the merged model")
    parser.add_argument(
        "--dtype",
        default="auto",
        help="of the merged weights (default: float32, which keeps the adapter's logits; the base's own from"
        " a billion weights on)",
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Merge at load, as decoding does, and save what was loaded."""
    from harness.models.catalog import locate
    from harness.models.loading import load_model, save_model
    from harness.models.tokenizer import copy_tokenizer

    base = locate(args.model)
    if args.output.resolve() == base.resolve():
        raise UserError(f"--output {args.output} is the base model itself; choose another directory")
    if (args.output / "config.json").exists():
        raise UserError(f"--output {args.output} holds a model already; choose another directory")
    dtype = default_dtype(base) if args.dtype == "auto" else args.dtype
    loaded = load_model(args.model, dtype=dtype, device="cpu", adapter=args.adapter)
    save_model(loaded.model, json.loads((loaded.path / "config.json").read_text()), args.output)
    copy_tokenizer(loaded.path, args.output)
    print(f"{args.model} with {args.adapter} merged, {dtype}: {args.output}")
    return 0


def default_dtype(base: Path) -> str:
    """float32, so that rounding moves no logit, or the base's own dtype where that would double gigabytes."""
    from harness.models.loading import read_config
    from harness.models.tokenizer import load_tokenizer
    from training.memory import parameters

    small = parameters(read_config(base, load_tokenizer(base))) < LARGE
    return "float32" if small else stored_dtype(base)


def stored_dtype(directory: Path) -> str:
    """The dtype a checkpoint's first tensor is stored in, by torch's name."""
    from safetensors import safe_open

    from harness.models.loading import tensor_files

    name, file = next(tensor_files(directory))
    with safe_open(file, "pt") as handle:
        return str(handle.get_tensor(name).dtype).removeprefix("torch.")
