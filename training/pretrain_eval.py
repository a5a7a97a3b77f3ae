"""How well a model predicts held-out answers: LLaDA's bound and the accuracy of next tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from harness.models.transformer import Denoiser
from training.pretrain_data import Rows, lay_out


class Yardstick:
    """Held-out problems of every suite, measured the same way at every evaluation."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, held: dict[str, Rows], region: int) -> None:
        self.held, self.region = held, region
        self.mask_id, self.pad_id = tokenizer.mask_token_id, tokenizer.pad_token_id
        self.numeric = torch.zeros(len(tokenizer), dtype=torch.bool)
        self.numeric[tokenizer.convert_tokens_to_ids([str(number) for number in range(100)])] = True
        self.equals = tokenizer.convert_tokens_to_ids("=")

    @torch.no_grad()
    def measure(self, model: Denoiser) -> dict[str, Any]:
        """Per suite: accuracy of `results` (numbers behind =), `numbers`, `words`; the `bound`."""
        return {
            suite: {**self._next_tokens(model, rows), "bound": round(self._bound(model, rows), 4)}
            for suite, rows in self.held.items()
        }

    def _next_tokens(self, model: Denoiser, rows: Rows) -> dict[str, float]:
        """Accuracy at a position whose left context is clean and everything from it on is masked."""
        clean = lay_out(rows, int(rows.total.max()) + 8, self.pad_id)
        column = torch.arange(clean.shape[1])
        generator = torch.Generator().manual_seed(0)
        drawn = torch.rand(len(clean), generator=generator)
        start = (rows.prompt + (drawn * (rows.total - rows.prompt)).long())[:, None]
        before = torch.cat((clean[:, :1], clean[:, :-1]), 1)
        kinds = {
            "results": self.numeric[clean] & (before == self.equals),
            "numbers": self.numeric[clean] & (before != self.equals),
            "words": ~self.numeric[clean],
        }
        found = {}
        for kind, wanted in kinds.items():
            wanted = wanted & (column >= start) & (column < rows.total[:, None])
            has = wanted.any(1)
            if not has.any():
                continue
            at = wanted.float().argmax(1)[has]
            noisy = clean[has].masked_fill(column >= at[:, None], self.mask_id)
            read = column == at[:, None]
            right = model.logits(noisy, read=read).argmax(-1) == clean[has][read]
            found[kind] = round(right.float().mean().item(), 4)
        return found

    def _bound(self, model: Denoiser, rows: Rows) -> float:
        """LLaDA's bound on -log p(answer region | prompt) in nats a token of the region, arXiv 2502.09992.

        For a mask ratio t drawn once a problem (stratified over them), the masked tokens' cross-entropy
        is summed, divided by t and by the region's length, end-of-text padding included as in LLaDA's SFT.
        """
        count, total = len(rows.prompt), 0.0
        generator = torch.Generator().manual_seed(0)
        ratios = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        clean = lay_out(rows, int(rows.prompt.max()) + self.region, self.pad_id)
        column = torch.arange(clean.shape[1]) - rows.prompt[:, None]
        inside = (column >= 0) & (column < self.region)
        hidden = inside & (torch.rand(clean.shape, generator=generator) < ratios[:, None])
        noisy = clean.masked_fill(hidden, self.mask_id)
        for part in torch.arange(count).split(64):
            loss = self._losses(model, noisy[part], clean[part], hidden[part])
            total += float((loss.sum(1) / ratios[part]).sum())
        return total / (count * self.region)

    def _losses(self, model: Denoiser, noisy: Tensor, clean: Tensor, hidden: Tensor) -> Tensor:
        loss = torch.zeros(clean.shape)
        loss[hidden] = F.cross_entropy(model.logits(noisy, read=hidden), clean[hidden], reduction="none")
        return loss


class Log:
    """Appends records to a JSONL file and prints them as a line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **record: Any) -> None:
        """Keep one record and show it."""
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(" ".join(f"{key}={value}" for key, value in record.items()), flush=True)
