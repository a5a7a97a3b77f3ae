"""`python -m training pretrain`: train the embedded demo model from scratch."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
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
from training.pretrain_tokenizer import TURN_END, save_tokenizer, train_tokenizer

LENGTHS = (48, 56, 64, 80, 96, 112, 128, 160, 192)
ARITHMETIC = ("demo-gsm8k", "demo-math")
HELD_OUT = 100  # test problems a suite that the learning curve is measured on


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights; the model card says how the shipped run came to the defaults."""

    d_model: int = 128
    n_layers: int = 6
    n_heads: int = 4
    mlp_hidden: int = 384
    vocab: int = 768
    context: int = 512
    rope_theta: float = 10000.0
    sums: int = 50000  # train problems of each suite with arithmetic
    programs: int = 30000  # and of each suite of programs, whose answers need less of it
    steps: int = 2600
    batch: int = 64
    adam_rate: float = 3e-3
    muon_rate: float = 7e-3
    decay: float = 0.01
    warmup: int = 100
    cooldown: float = 0.5  # share of the steps over which the rates fall to zero
    uniform: float = 0.3
    tied: float = 0.6
    drill: float = 0.3
    second_stage: int = 500
    frontier: float = 0.6
    third_stage: int = 1200
    full: float = 0.12  # share of batches that leave the whole region for the answer
    region: int = 128
    block: int = 32
    dtype: str = "float32"
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rates' scale at a step: warm-up, plateau, linear fall to zero."""
        fall = (self.steps - step) / max(1.0, self.cooldown * self.steps)
        return max(0.0, min(1.0, (step + 1) / self.warmup, fall))


def config_json(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The config.json of LLaDA's releases for the recipe's shape and the tokenizer's ids."""
    return {
        "architectures": ["LLaDAModelLM"],
        "model_type": "llada",
        "activation_type": "silu",
        "block_type": "llama",
        "layer_norm_type": "rms",
        "d_model": recipe.d_model,
        "n_layers": recipe.n_layers,
        "n_heads": recipe.n_heads,
        "n_kv_heads": recipe.n_heads,
        "mlp_hidden_size": recipe.mlp_hidden,
        "embedding_size": len(tokenizer),
        "vocab_size": len(tokenizer),
        "max_sequence_length": recipe.context,
        "rope": True,
        "rope_theta": recipe.rope_theta,
        "rms_norm_eps": 1e-5,
        "include_bias": False,
        "include_qkv_bias": False,
        "weight_tying": False,
        "mask_token_id": tokenizer.mask_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": [tokenizer.pad_token_id, tokenizer.convert_tokens_to_ids(TURN_END)],
    }


class Trainer:
    """A run in progress: model, optimiser, data and where it stands."""

    def __init__(self, recipe: Recipe, output: Path, compiled: bool) -> None:
        self.recipe, self.output = recipe, output
        self.step, self.seconds = 0, 0.0
        torch.manual_seed(recipe.seed)
        self.tokenizer, self.rows = prepare(recipe)
        self.drill = tokenise(self.tokenizer, drills(20000, recipe.seed))
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
            numbers=tuple(vocabulary[str(number)] for number in range(100)),
            equals=vocabulary["="],
            lengths=LENGTHS,
        )
        self.layer: Callable[..., Tensor] = Block.forward
        if compiled:
            torch._dynamo.config.cache_size_limit = 64  # one entry a batch length
            self.layer = torch.compile(Block.forward, dynamic=False)

    def loss(self, batch: Batch) -> Tensor:
        """Weighted mean of the cross-entropy over the batch's masked positions."""
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
        return (losses * weight).sum() / weight.sum()

    def train(self, yardstick: Yardstick, log: Log, every: int) -> None:
        """Train to the recipe's last step; log, evaluate and write a checkpoint every `every` steps."""
        recipe, total, seen = self.recipe, 0.0, 0
        stream = batches(self.rows, self.drill, recipe.batch, self.noise, recipe.full, recipe.seed, self.step)
        began = time.perf_counter()
        while self.step < recipe.steps:
            loss = self.loss(next(stream))
            loss.backward()
            self.optimiser.step(recipe.rate(self.step))
            total, seen = total + loss.item(), seen + 1
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


def prepare(recipe: Recipe) -> tuple[PreTrainedTokenizerFast, Rows]:
    """The tokenizer and the train problems in it."""
    counts = {suite: recipe.sums if suite in ARITHMETIC else recipe.programs for suite in SUITES}
    docs = corpus(counts, "train", recipe.seed)
    texts = (
        text for doc in docs[:: max(1, len(docs) // 40000)] for text in (prompt_text(doc), gold_response(doc))
    )
    tokenizer = train_tokenizer(texts, recipe.vocab, recipe.context)
    return tokenizer, tokenise(tokenizer, docs)


def export(
    model: Denoiser, config: dict[str, Any], tokenizer: PreTrainedTokenizerFast, directory: Path
) -> None:
    """Write config.json, model.safetensors and the tokenizer's files."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    save_tokenizer(tokenizer, directory)


def hardware() -> str:
    """The processor and how many of its threads are used."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} thread(s), no GPU"


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
    log.write(parameters=parameters, hardware=hardware(), torch=torch.__version__, recipe=asdict(recipe))
    trainer.train(Yardstick(trainer.tokenizer, held, recipe.region), log, args.every)
    return 0
