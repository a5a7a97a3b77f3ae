"""`python -m training distill`: a LoRA adapter that makes a model decode in fewer forwards."""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError

if TYPE_CHECKING:  # the command's help must not wait for transformers
    from transformers import TrainingArguments

    from harness.models.loading import LoadedModel
    from training.data import Collator, Examples
    from training.evaluation import Decoding
    from training.settings import Settings


POSITIVE = (
    "per_device_train_batch_size",
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "gradient_accumulation_steps",
    "logging_steps",
)
ROWS = 8  # TrainingArguments' own default of per_device_train_batch_size


def add_parser(subparsers: Any) -> None:
    """Register the command; nothing heavy is imported until it runs."""
    parser = subparsers.add_parser("distill", description=__doc__)
    parser.add_argument("--model", default="demo", help="name, hub id or directory of the base model")
    parser.add_argument("--data", required=True, help="trajectories directory, .jsonl file or hub data set")
    parser.add_argument("--config", type=Path, required=True, help="YAML recipe (training/configs/)")
    parser.add_argument("--output", type=Path, required=True, help="where the adapter and its card go")
    parser.add_argument("--work", type=Path, help="checkpoints and logs (default: runs/distill-NAME)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="auto", help="of the base weights; the adapter is float32")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Train, save the adapter in peft's format and write its card; continues an interrupted run."""
    from transformers import set_seed

    from training.card import hardware
    from training.data import described
    from training.lora import adapt, checkpoint_layers
    from training.objectives import objective
    from training.settings import read_settings
    from training.trainer import DistillTrainer, training_arguments

    settings = read_settings(args.config)
    work = args.work or Path("runs") / f"distill-{args.output.name}"
    given = dict(settings.training)
    checkpointing = bool(given.pop("gradient_checkpointing", False))
    check(args, settings, given, checkpointing)
    arguments = training_arguments(given, str(work), args.seed)
    resume = continued(work, args, settings)
    loaded, examples, collator = prepare(args, settings, arguments)
    loaded.model.name_or_path = args.model
    set_seed(args.seed)  # the adapter's first values are drawn before the Trainer seeds anything
    if checkpointing:
        checkpoint_layers(loaded.model)
    trainer = DistillTrainer(
        objective(settings.loss, loaded.config.mask_id),
        model=adapt(loaded.model, settings.lora),
        args=arguments,
        train_dataset=examples,
        data_collator=collator,
    )
    decoding = None
    if settings.evaluation:
        from training.evaluation import Decoding

        decoding = Decoding(settings.evaluation, loaded, trainer, work)
        trainer.add_callback(decoding)
    began = time.perf_counter()
    if resume and is_last(resume, arguments):
        trainer.finish_from(resume)
    else:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    seconds = f"{time.perf_counter() - began:.0f}"
    (args.output / "README.md").unlink(missing_ok=True)  # peft would try to read a card of its own there
    trainer.save_model(str(args.output))
    if arguments.should_save:
        facts = {
            "base model": args.model,
            "objective": settings.loss.objective,
            "data": f"{described(args.data)}: {len(examples)} examples",
            "steps": trainer.state.global_step,
            "seconds": f"{seconds} after resuming at {resume.name}" if resume else seconds,
            "hardware": hardware(arguments.device),
            "seed": args.seed,
            "recipe": json.dumps(asdict(settings)),
        }
        document(args, facts, trainer.state.log_history, decoding)
    return 0


def document(
    args: argparse.Namespace, facts: dict[str, Any], history: list[dict[str, Any]], decoding: Decoding | None
) -> None:
    """Write the adapter's card, with the losses and what was decoded after each epoch, and its plot."""
    from training.card import write_card

    (args.output / "training_args.bin").unlink(missing_ok=True)
    tables = {"Loss": curve(history)}
    if decoding:
        tables["Decoded after each epoch"] = decoding.rows
        decoding.plot(args.output / "evaluation.png")
    title = f"{args.output.name}, a LoRA adapter of {args.model}"
    write_card(args.output, title, args.typed, facts, tables)
    print(f"adapter and card written to {args.output}")


def check(args: argparse.Namespace, settings: Settings, given: dict[str, Any], checkpointing: bool) -> None:
    """Refuse targets that the model does not have and a device that cannot hold the step.

    Before TrainingArguments, which on a machine without a GPU would complain of bf16 first.
    """
    import torch

    from harness.models.adapters import CONFIG as ADAPTER_CONFIG
    from harness.models.catalog import locate
    from harness.models.loading import read_config
    from harness.models.tokenizer import load_tokenizer
    from training.lora import check_targets
    from training.memory import check_device, estimate, widths
    from training.settings import as_number

    if args.output.exists() and not args.output.is_dir():
        raise UserError(f"--output {args.output} is a file; the adapter needs a directory")
    if (args.output / "README.md").exists() and not (args.output / ADAPTER_CONFIG).exists():
        raise UserError(f"--output {args.output} holds a README.md and no adapter; choose another directory")
    if not 0 <= args.seed < 2**32:
        raise UserError(f"--seed {args.seed} must lie between 0 and 2**32 - 1")
    for name in POSITIVE:
        value = as_number(given.get(name))
        if value is not None and not 0 < value < math.inf and not (name == "max_steps" and value == -1):
            raise UserError(f"{args.config}: training.{name} {value:g} must be above 0 and finite")
    if given.get("deepspeed") and find_spec("deepspeed") is None:
        raise UserError(f"{args.config}: training.deepspeed needs a package: pip install deepspeed")
    path = locate(args.model)
    config = read_config(path, load_tokenizer(path))
    check_targets(settings.lora.targets, widths(config), config.family)
    need = estimate(
        config,
        settings.lora.r,
        settings.lora.targets,
        rows=int(as_number(given.get("per_device_train_batch_size")) or ROWS),
        length=settings.data.length or 2 * (settings.data.response_length or 0),
        block_length=settings.loss.block_length,
        checkpointing=checkpointing,
    )
    launched = (os.environ.get(f"ACCELERATE_USE_{kind}", "false") for kind in ("DEEPSPEED", "FSDP"))
    sharded = bool(given.get("deepspeed") or given.get("fsdp")) or "true" in launched
    cuda = torch.cuda.is_available() and not given.get("use_cpu")
    check_device(args.model, config, need, torch.device("cuda" if cuda else "cpu"), sharded)


def prepare(
    args: argparse.Namespace, settings: Settings, arguments: TrainingArguments
) -> tuple[LoadedModel, Examples, Collator]:
    """Model on its device, data and collator; the data are read before the weights."""
    from harness.models.catalog import locate
    from harness.models.loading import load_model, read_config
    from harness.models.tokenizer import load_tokenizer
    from training.data import Collator, Examples, read_examples

    path = locate(args.model)
    tokenizer = load_tokenizer(path)
    examples = read_examples(args.data, read_config(path, tokenizer), tokenizer, settings.data)
    unordered = sum(example.commit_step is None for example in examples)
    if settings.loss.objective == "consistency" and unordered:
        raise UserError(
            f"{args.data}: {unordered} of {len(examples)} examples have no commit_step, and the consistency"
            " objective follows the teacher's order; make them with `python -m training trajectories`"
        )
    place = arguments.device
    loaded = load_model(args.model, dtype=args.dtype, device="cpu" if place.type == "cpu" else str(place))
    return loaded, Examples(examples), Collator(settings.data, loaded.config)


def continued(work: Path, args: argparse.Namespace, settings: Settings) -> Path | None:
    """The last complete checkpoint of the same run, None at a fresh start.

    Raises UserError where `work` holds a run with other settings.
    """
    from training.data import fingerprint

    record = work / "distill.json"
    now = json.loads(
        json.dumps(
            {
                "model": args.model,
                "data": args.data,
                "content of --data": fingerprint(args.data),
                "seed": args.seed,
                "dtype": args.dtype,
                "recipe": asdict(settings),
            }
        )
    )
    # trainer_state.json is the last file a checkpoint gets: without it the run was killed while saving.
    complete = [path.parent for path in work.glob("checkpoint-*/trainer_state.json")]
    if record.exists() and complete:
        before = json.loads(record.read_text())
        changed = [key for key in now if before.get(key) != now[key]]
        if changed:
            raise UserError(
                f"{work} holds a run with another {' and '.join(changed)}; continue it with its own settings"
                " or choose another --work"
            )
    work.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(now, indent=1))
    return max(complete, key=lambda path: int(path.name.split("-")[1]), default=None)


def is_last(checkpoint: Path, arguments: TrainingArguments) -> bool:
    """Whether a checkpoint ends a run of `max_steps`, which the Trainer would continue by one more step."""
    done = json.loads((checkpoint / "trainer_state.json").read_text())["global_step"]
    return 0 < arguments.max_steps <= done


def curve(history: list[dict[str, Any]], points: int = 8) -> list[dict[str, Any]]:
    """A few evenly spaced lines of the training log."""
    lines = [line for line in history if "loss" in line]
    chosen = sorted({round(i * (len(lines) - 1) / (points - 1)) for i in range(points)}) if lines else []
    keep = ("step", "epoch", "loss", "cross_entropy", "entropy", "divergence", "correct")
    return [{key: lines[i][key] for key in keep if key in lines[i]} for i in chosen]
