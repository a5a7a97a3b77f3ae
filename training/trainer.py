"""transformers' Trainer with a distillation objective in place of a model's own loss."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerState, TrainingArguments

from harness.errors import UserError
from training.masking import RowRandom
from training.objectives import Objective
from training.settings import as_number

DEFAULTS: dict[str, Any] = {
    "learning_rate": 2e-5,
    "lr_scheduler_type": "constant",
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "logging_steps": 10,
    "save_strategy": "epoch",
    "save_total_limit": 2,
    "report_to": "tensorboard",
    "dataloader_pin_memory": torch.cuda.is_available(),
    "ddp_find_unused_parameters": False,
}


def training_arguments(given: dict[str, Any], output_dir: str, seed: int) -> TrainingArguments:
    """TrainingArguments of a configuration's training section. Raises UserError for what they refuse."""
    values = {**DEFAULTS, "seed": seed, **given, "output_dir": output_dir}
    # The batches' keys are the objective's business, not arguments of the model's forward.
    values |= {"remove_unused_columns": False, "label_names": []}
    known = {item.name: item.default for item in dataclasses.fields(TrainingArguments)}
    for name, value in given.items():
        if type(known.get(name)) not in (int, float) or type(value) in (int, float):
            continue
        number = as_number(value)  # TrainingArguments takes a text, and the optimizer fails at it
        if number is None:
            raise UserError(f"training section: {name} is {value!r}; needed is a number")
        values[name] = number
    try:
        return TrainingArguments(**values)
    except (TypeError, ValueError) as error:
        raise UserError(f"training section: {' '.join(str(error).split())}") from error


class DistillTrainer(Trainer):
    """Minimises an objective; each example's noise is a function of seed, epoch and index alone.

    So the noise depends neither on batch size nor on processes, and a resumed run repeats what an
    undisturbed one does.
    """

    def __init__(self, objective: Objective, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.objective: Objective = objective
        self.model_accepts_loss_kwargs = False  # the loss is a batch mean: scale it for accumulation
        self.terms: dict[str, list[Tensor]] = defaultdict(list)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        randomness = [
            RowRandom.of(self.args.seed, int(self.state.epoch or 0), index)
            for index in inputs["index"].tolist()
        ]
        loss, terms = self.objective(model, inputs, randomness, self.teacher)
        for name, value in terms.items():
            self.terms[name].append(value)
        return (loss, terms) if return_outputs else loss

    def finish_from(self, checkpoint: Path) -> None:
        """Take a finished run's weights and log from its last checkpoint, in place of training."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))

    @contextmanager
    def teacher(self) -> Any:
        """The model without its adapter, in inference mode as far as dropout goes."""
        model = self.accelerator.unwrap_model(self.model)
        training = model.training
        model.eval()
        with model.disable_adapter():
            yield
        model.train(training)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the means of the objective's terms since the last line."""
        if "loss" in logs:
            logs |= {name: torch.stack(values).mean().item() for name, values in self.terms.items()}
            self.terms.clear()
        super().log(logs, *args, **kwargs)
