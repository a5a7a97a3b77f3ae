"""`python -m training filter`: Learn2PD's filter for a model, from its own extremely greedy decodes."""

from __future__ import annotations

import argparse
import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.errors import UserError
from strategies.filter import FilterNet, save_filter
from training.arguments import positive
from training.card import hardware, write_card
from training.data import described
from training.filter_data import Pairs, greedy_forwards, read_answers, stack

FILE = "filter.safetensors"
THRESHOLDS = (0.9, 0.96)
LEARNING_RATE = 3e-3  # AdamW's, from the reference


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser = subparsers.add_parser("filter", description=__doc__)
    parser.add_argument("--model", default="demo", help="name, hub id or directory of the model")
    parser.add_argument("--data", required=True, help="trajectories of the model's own fixed decode")
    parser.add_argument("--output", type=Path, required=True, help=f"directory for {FILE} and its card")
    parser.add_argument("--block-length", type=positive, default=32)
    parser.add_argument("--hidden", type=positive, default=32, help="width of the hidden layer")
    parser.add_argument("--limit", type=positive, help="trajectories to use")
    parser.add_argument("--epochs", type=positive, default=40_000, help="full-batch epochs at most")
    parser.add_argument(
        "--patience", type=positive, default=500, help="epochs without a better held-out loss"
    )
    parser.add_argument("--held-out", type=float, default=0.2, help="share of the samples held out")
    parser.add_argument(
        "--wrong-weight",
        type=float,
        default=1.0,
        help="weight of wrong predictions in the loss (default: 1, the reference's); more accepts less",
    )
    parser.add_argument("--batch-size", type=positive, default=32, help="samples decoded together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.set_defaults(handler=run)


@dataclass(frozen=True)
class Fit:
    """A trained filter, the epoch it is from, and the losses by epoch."""

    network: FilterNet
    epoch: int
    epochs: int
    held_out_loss: float


def loss_of(network: FilterNet, pairs: Pairs, wrong_weight: float = 1.0) -> Tensor:
    """Binary cross-entropy over the positions that were still masked: the others are never asked about.

    wrong_weight: of the wrong predictions; above 1 the filter accepts less at the same threshold.
    """
    logits, right = network(pairs.confidence)[pairs.masked], pairs.correct[pairs.masked]
    weight = torch.where(right, 1.0, wrong_weight)
    return F.binary_cross_entropy_with_logits(logits, right.float(), weight)


def fit(
    train: Pairs,
    held_out: Pairs,
    *,
    block_length: int,
    hidden: int,
    epochs: int,
    patience: int,
    seed: int,
    wrong_weight: float = 1.0,
) -> Fit:
    """Full-batch AdamW until the held-out loss has not improved for `patience` epochs; the best is kept."""
    torch.manual_seed(seed)
    network = FilterNet(block_length, hidden, block_length)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    best, best_epoch, kept, epoch = float("inf"), 0, network, 0
    for epoch in range(1, epochs + 1):
        optimizer.zero_grad()
        loss_of(network, train, wrong_weight).backward()
        optimizer.step()
        with torch.no_grad():
            now = loss_of(network, held_out, wrong_weight).item()
        if now < best:
            best, best_epoch, kept = now, epoch, copy.deepcopy(network)
        elif epoch - best_epoch >= patience:
            break
    return Fit(kept, best_epoch, epoch, best)


def auroc(score: Tensor, label: Tensor) -> float:
    """Probability that a right prediction scores above a wrong one, ties counted half; NaN for one class."""
    order = score.double().argsort()
    _, group, counts = torch.unique_consecutive(
        score.double()[order], return_inverse=True, return_counts=True
    )
    last = counts.cumsum(0).double()
    rank = torch.empty(len(score), dtype=torch.float64)
    rank[order] = (last - (counts - 1) / 2)[group]
    right, wrong = int(label.sum()), int((~label).sum())
    if not right or not wrong:
        return float("nan")
    return (rank[label].sum().item() - right * (right + 1) / 2) / (right * wrong)


def quality(score: Tensor, label: Tensor) -> dict[str, float]:
    """AUROC, and at each threshold the precision of what is accepted and the share of the right accepted."""
    found = {"auroc": auroc(score, label)}
    for threshold in THRESHOLDS:
        accepted = score > threshold
        found[f"precision at {threshold}"] = label[accepted].float().mean().item()
        found[f"recall at {threshold}"] = accepted[label].float().mean().item()
    return found


def run(args: argparse.Namespace) -> int:
    """Record, train, and write the filter with its card and calibration plot."""
    from harness.models.loading import load_model

    if not 0 < args.held_out < 1:
        raise UserError(f"--held-out {args.held_out} must lie between 0 and 1")
    if not 0 < args.wrong_weight < math.inf:
        raise UserError(f"--wrong-weight {args.wrong_weight} must be above 0 and finite")
    if not 0 <= args.seed < 2**63:
        raise UserError(f"--seed {args.seed} must lie between 0 and 2**63 - 1")
    if args.output.exists() and not args.output.is_dir():
        raise UserError(f"--output {args.output} is a file; the filter and its card need a directory")
    began = time.perf_counter()
    loaded = load_model(args.model, dtype=args.dtype, device=args.device)
    prompts, answers = read_answers(args.data, loaded.model, args.limit)
    if len(prompts) < 2:
        raise UserError(f"{args.data} holds one trajectory; a held-out split needs at least two")
    forwards = greedy_forwards(loaded.model, prompts, answers, args.block_length, args.batch_size)
    pairs = stack(forwards, args.block_length)
    recorded = time.perf_counter() - began
    print(f"{len(pairs.sample)} forwards of {len(prompts)} samples recorded in {recorded:.0f} s")
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(args.seed))
    chosen = torch.zeros(len(prompts), dtype=torch.bool)
    chosen[order[: max(1, round(args.held_out * len(prompts)))]] = True
    lengths = {"block_length": args.block_length, "hidden": args.hidden}
    limits = {"epochs": args.epochs, "patience": args.patience, "seed": args.seed}
    limits |= {"wrong_weight": args.wrong_weight}
    held_out = pairs.of(chosen)
    found = fit(pairs.of(~chosen), held_out, **lengths, **limits)
    args.output.mkdir(parents=True, exist_ok=True)
    save_filter(found.network, args.output / FILE)
    facts = {
        "model": args.model,
        "data": f"{described(args.data)}: {len(prompts)} samples, {len(pairs.sample)} forwards",
        "split": f"{int((~chosen).sum())} samples trained on, {int(chosen.sum())} held out",
        "seconds": f"{time.perf_counter() - began:.0f}, of these {recorded:.0f} to record",
        "hardware": hardware(loaded.model.device),
    }
    report(args, found, held_out, facts)
    return 0


def report(args: argparse.Namespace, found: Fit, held_out: Pairs, facts: dict[str, Any]) -> None:
    """Write the card and the calibration plot of a trained filter, and print its AUROC."""
    with torch.no_grad():
        score = found.network(held_out.confidence).sigmoid()[held_out.masked]
    label = held_out.correct[held_out.masked]
    rows = [
        {"score": "filter", **quality(score, label)},
        {"score": "confidence alone", **quality(held_out.confidence[held_out.masked], label)},
    ]
    calibration_plot(score, label, args.output / "filter.png")
    facts |= {
        "block length": args.block_length,
        "network": f"{args.block_length} to {args.hidden} to {args.block_length}",
        "epochs": f"{found.epochs} full-batch, the best is {found.epoch} (the reference: a fixed 40,000)",
        "held-out loss": f"{found.held_out_loss:.4f}",
        "seed": args.seed,
    }
    tables = {"On the held-out samples, masked positions": rows}
    write_card(
        args.output, f"Learn2PD's filter for {args.model}", args.typed, facts, tables, name="filter.md"
    )
    print(
        f"AUROC {rows[0]['auroc']:.4f} (confidence alone {rows[1]['auroc']:.4f}),"
        f" precision at 0.96 {rows[0]['precision at 0.96']:.4f}: {args.output / FILE}"
    )


def calibration_plot(score: Tensor, label: Tensor, path: Path, bins: int = 15) -> None:
    """The share of right predictions by the filter's score, and how the scores are spread."""
    from matplotlib.figure import Figure

    place = (score * bins).long().clamp_max(bins - 1)
    count = torch.bincount(place, minlength=bins)
    right = torch.bincount(place, weights=label.float(), minlength=bins)
    held = count > 0
    centre = (torch.arange(bins) + 0.5) / bins
    figure = Figure(figsize=(5, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
    above.plot(centre[held].numpy(), (right[held] / count[held]).numpy(), "o-", color="#1f5fa8")
    above.set(ylabel="share of predictions that are right", ylim=(-0.02, 1.02))
    for threshold in THRESHOLDS:
        above.axvline(threshold, color="#b3541e", linewidth=1)
    below.bar(centre.numpy(), count.numpy(), width=0.9 / bins, color="#1f5fa8")
    below.set(yscale="log", ylabel="positions", xlabel="filter's score (lines: thresholds 0.9 and 0.96)")
    figure.savefig(path, dpi=120)
