"""`python -m training pretrain`: train the embedded demo model from scratch."""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from harness.errors import UserError
from harness.models.config import ModelConfig
from harness.models.transformer import Block, Denoiser, build
from harness.tasks.demo import SUITES, generate, gold_response, prompt_text
from training.pretrain_data import Batch, Noise, Rows, batches, corpus, drills, tokenise
from training.pretrain_eval import Log, Yardstick
from training.pretrain_optim import Optimiser
from training.pretrain_recipe import Recipe, config_json
from training.pretrain_tokenizer import save_tokenizer, train_tokenizer
from training.pretrain_wording import reword

LENGTHS = (48, 56, 64, 80, 96, 112, 128, 160, 192)
ARITHMETIC = ("demo-gsm8k", "demo-math")
HELD_OUT = 100  # test problems a suite that the learning curve is measured on


class Trainer:
    """A run in progress: model, optimiser, data and where it stands."""

    def __init__(self, recipe: Recipe, output: Path, compiled: bool) -> None:
        self.recipe, self.output = recipe, output
        self.step, self.seconds = 0, 0.0
        self.threads = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(self.threads, initializer=prepare_thread)
        torch.manual_seed(recipe.seed)
        self.tokenizer, self.rows, self.reworded = prepare(recipe)
        self.drill = tokenise(self.tokenizer, drills(recipe.lists, recipe.seed))
        self.config = config_json(recipe, self.tokenizer)
        self.model = build(ModelConfig.from_json(self.config), getattr(torch, recipe.dtype))
        self.optimiser = Optimiser(self.model, recipe.adam_rate, recipe.muon_rate, recipe.decay)
        vocabulary = self.tokenizer.get_vocab()
        self.noise = Noise(
            mask_id=self.tokenizer.mask_token_id,
            pad_id=self.tokenizer.pad_token_id,
            region=recipe.region,
            block=recipe.block,
            uniform=recipe.uniform,
            tied=recipe.tied,
            drill=recipe.drill,
            second_stage=recipe.second_stage,
            frontier=recipe.frontier,
            third_stage=recipe.third_stage,
            fourth_stage=recipe.fourth_stage,
            numbers=tuple(vocabulary[str(number)] for number in range(100)),
            equals=vocabulary["="],
            lengths=LENGTHS,
        )
        self.layer: Callable[..., Tensor] = Block.forward
        if compiled:
            self.layer = torch.compile(Block.forward, dynamic=False)

    def gradients(self, batch: Batch) -> float:
        """Leave the loss's gradients in the weights; the loss itself comes back.

        Each thread takes its share of the rows: operations as small as these hardly gain from a second
        thread each, whole forwards and backwards do.
        """
        weights = self.optimiser.weights
        total = batch.weight.sum()
        shares = [Batch(*rows) for rows in zip(*(part.chunk(self.threads) for part in batch), strict=True)]

        def share(rows: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
            loss = self.loss(rows) / total
            return loss.detach(), torch.autograd.grad(loss, weights)

        losses, parts = zip(*self.pool.map(share, shares), strict=True)
        for weight, own in zip(weights, zip(*parts, strict=True), strict=True):
            weight.grad = torch.stack(own).sum(0)
        return float(sum(losses))

    def loss(self, batch: Batch) -> Tensor:
        """Weighted sum of the cross-entropy over the batch's masked positions."""
        cos, sin = (table[: batch.noisy.shape[1]].clone() for table in self.model.rope(batch.noisy.shape[1]))
        x = self.model.embedding(batch.noisy)
        for block in self.model.blocks:
            x = self.layer(block, x, cos, sin, None, True)
        weight = batch.weight.flatten()
        read = weight.nonzero().flatten()
        weight = weight[read]
        read, weight = (
            F.pad(part, (0, -len(part) % 512)) for part in (read, weight)
        )  # few shapes, fast kernels
        losses = F.cross_entropy(
            self.model.head(x.flatten(0, 1)[read]), batch.clean.flatten()[read], reduction="none"
        )
        return (losses * weight).sum()

    def train(self, yardstick: Yardstick, log: Log, every: int) -> None:
        """Train to the recipe's last step; log, evaluate and write a checkpoint every `every` steps."""
        recipe, total, seen = self.recipe, 0.0, 0
        rows = (self.rows, self.reworded, self.drill)
        stream = batches(*rows, recipe.batch, self.noise, recipe.full, recipe.seed, self.step)
        began = time.perf_counter()
        while self.step < recipe.steps:
            total, seen = total + self.gradients(next(stream)), seen + 1
            self.optimiser.step(recipe.rate(self.step))
            self.step += 1
            if self.step % every and self.step != recipe.steps:
                continue
            self.seconds += time.perf_counter() - began
            self.save()
            rate = round(recipe.rate(self.step), 4)
            measured = yardstick.measure(self.model)
            log.write(
                step=self.step,
                seconds=round(self.seconds),
                rate=rate,
                loss=round(total / seen, 4),
                **measured,
            )
            total, seen, began = 0.0, 0, time.perf_counter()

    def save(self) -> None:
        """Write the resumable state and the model as a directory that the harness can load."""
        state = {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "seconds": self.seconds,
            "optimiser": self.optimiser.state_dict(),
        }
        partial = self.output / "state.partial"
        torch.save(state, partial)
        partial.replace(self.output / "state.pt")
        export(self.model, self.config, self.tokenizer, self.output / "model")

    def resume(self) -> None:
        """Continue from the state in the output directory. Raises UserError where its recipe differs."""
        state = torch.load(self.output / "state.pt", weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise UserError(f"{self.output} holds a run of another recipe; give another --output")
        self.step, self.seconds = state["step"], state["seconds"]
        self.optimiser.load_state_dict(state["optimiser"])


def prepare_thread() -> None:
    """Set what PyTorch holds for each thread alone."""
    torch.set_num_threads(1)
    torch._dynamo.config.recompile_limit = 64  # one entry a batch length


def prepare(recipe: Recipe) -> tuple[PreTrainedTokenizerFast, Rows, Rows]:
    """The tokenizer and the train problems in it, with the suites' own answers and with reworded ones."""
    counts = {suite: recipe.sums if suite in ARITHMETIC else recipe.programs for suite in SUITES}
    docs = corpus(counts, "train", recipe.seed)
    texts = (
        text for doc in docs[:: max(1, len(docs) // 40000)] for text in (prompt_text(doc), gold_response(doc))
    )
    tokenizer = train_tokenizer(texts, recipe.vocab, recipe.context)
    own = tokenise(tokenizer, docs)
    return tokenizer, own, tokenise(tokenizer, docs, partial(reword, rng=random.Random(recipe.seed)))


def export(
    model: Denoiser, config: dict[str, Any], tokenizer: PreTrainedTokenizerFast, directory: Path
) -> None:
    """Write config.json, model.safetensors and the tokenizer's files."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    save_tokenizer(tokenizer, directory)


def hardware(threads: int) -> str:
    """The processor and how many of its threads are used."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    return f"{names[0] if names else platform.processor()}, {threads} thread(s), no GPU"


def add_parser(subparsers: Any) -> None:
    """Declare the command: every field of the recipe is an option."""
    parser = subparsers.add_parser("pretrain", help="train the embedded demo model from scratch")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/pretrain"), help="log, checkpoint and model"
    )
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--eager", action="store_true", help="do not compile (for short runs)")
    for field in fields(Recipe):
        kind = type(field.default)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Train, or continue the run in the output directory."""
    recipe = Recipe(**{field.name: getattr(args, field.name) for field in fields(Recipe)})
    args.output.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, args.output, compiled=not args.eager)
    if (args.output / "state.pt").exists():
        trainer.resume()
    held = {suite: tokenise(trainer.tokenizer, generate(suite, "test", HELD_OUT)) for suite in SUITES}
    log = Log(args.output / "log.jsonl")
    parameters = sum(weight.numel() for weight in trainer.model.parameters())
    log.write(
        parameters=parameters,
        hardware=hardware(trainer.threads),
        torch=torch.__version__,
        recipe=asdict(recipe),
    )
    trainer.train(Yardstick(trainer.tokenizer, held, recipe.region), log, args.every)
    return 0
