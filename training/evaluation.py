"""The evaluation hook: a few problems decoded after each epoch, NFE and accuracy plotted."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import Trainer, TrainerCallback

import strategies
from harness.models.loading import LoadedModel
from training.problems import Decoded, SplitTask, decode_problems
from training.settings import Evaluation


class Decoding(TrainerCallback):
    """Decodes the same problems with the same strategy as training goes on.

    rows: one dictionary an epoch with epoch, NFE and accuracy; also written to WORK/evaluation.jsonl,
    from where a resumed run takes those it has already made.
    """

    def __init__(self, settings: Evaluation, loaded: LoadedModel, trainer: Trainer, work: Path) -> None:
        self.settings, self.loaded, self.trainer = settings, loaded, trainer
        self.strategy = strategies.parse(settings.strategy)
        self.tasks = [SplitTask.of(name, settings.split, settings.limit) for name in settings.tasks]
        self.path = work / "evaluation.jsonl"
        self.rows: list[dict[str, Any]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero and self.path.exists():
            rows = [json.loads(line) for line in self.path.read_text().splitlines()]
            self.rows = [row for row in rows if row["step"] <= state.global_step] if state.global_step else []
        if not self.rows:
            self.measure(state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.measure(state)

    def measure(self, state: Any) -> None:
        """Decode with the weights as they are; only the main process does, and only whole weights."""
        if self.trainer.is_fsdp_enabled or _zero3(self.trainer):
            if state.is_world_process_zero and not self.rows:
                print("evaluation skipped: the weights are sharded over processes", file=sys.stderr)
            return
        if not state.is_world_process_zero:
            return
        model = self.loaded.model
        training = model.training
        model.eval()
        decoded = [item for task in self.tasks for item in decode_problems(self.loaded, self.strategy, task)]
        model.train(training)
        self.record(state, decoded)

    def record(self, state: Any, decoded: list[Decoded]) -> None:
        """Add a row, on disk and in the training log."""
        row = {
            "epoch": round(state.epoch or 0.0, 3),
            "step": state.global_step,
            "strategy": self.strategy.spec,
            "problems": len(decoded),
            "nfe": fmean(item.generation.nfe for item in decoded),
            "accuracy": fmean(item.score.correct for item in decoded),
        }
        self.rows.append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(f"{json.dumps(row)}\n" for row in self.rows))
        self.trainer.log({"eval_nfe": row["nfe"], "eval_accuracy": row["accuracy"]})

    def plot(self, path: Path) -> None:
        """NFE and accuracy by epoch."""
        if not self.rows:
            return
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 4.5), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        epochs = [row["epoch"] for row in self.rows]
        above.plot(epochs, [row["nfe"] for row in self.rows], "o-", color="#1f5fa8")
        above.set_ylabel("NFE")
        above.set_ylim(0, 1.05 * max(row["nfe"] for row in self.rows))
        below.plot(epochs, [row["accuracy"] for row in self.rows], "s-", color="#b3541e")
        below.set(ylabel="accuracy", xlabel="epoch", ylim=(0, 1.02))
        title = (
            f"{self.strategy.spec} on {self.rows[0]['problems']} problems of {', '.join(self.settings.tasks)}"
        )
        figure.suptitle("\n".join(textwrap.wrap(title, 60, break_on_hyphens=False)), fontsize=9)
        figure.savefig(path, dpi=120)


def _zero3(trainer: Trainer) -> bool:
    plugin = trainer.accelerator.state.deepspeed_plugin if trainer.is_deepspeed_enabled else None
    return plugin is not None and plugin.zero_stage == 3
