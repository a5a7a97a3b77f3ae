"""The filter's training pairs: a block's confidences, and which predictions are the final answer's.

They come from Learn2PD's extremely greedy parallel decode (arXiv 2509.25188): the reference decode's answer
is known, every forward commits all predictions of the block that equal it, and a block whose predictions no
longer change is stuck and gets the rest of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from harness.errors import UserError
from harness.models.transformer import Denoiser
from training.data import read_records, trajectory_ids


@dataclass(frozen=True)
class Forward:
    """One forward of one sample: the block's confidences, right predictions and masks, each [width].

    start: the block's first position, counted from the first generated token.
    """

    start: int
    confidence: Tensor  # float32 probability of the prediction, also where a token is committed already
    correct: Tensor  # bool, the prediction equals the answer
    masked: Tensor  # bool, not committed before this forward


@dataclass
class Sample:
    """A prompt with its known answer, and where its greedy decode stands."""

    prompt: list[int]
    answer: Tensor  # [gen_length]
    tokens: Tensor  # [prompt + gen_length]
    block: int = 0
    before: Tensor | None = None  # the previous forward's predictions of this block
    forwards: list[Forward] = field(default_factory=list)

    @classmethod
    def of(cls, prompt: list[int], answer: list[int], mask_id: int) -> Sample:
        tokens = torch.tensor(prompt + [mask_id] * len(answer))
        return cls(prompt, torch.tensor(answer), tokens)

    def advance(self, predicted: Tensor, confidence: Tensor, block_length: int, mask_id: int) -> None:
        """Take one forward's predictions for the active block [width] and commit."""
        here = slice(self.block, self.block + len(predicted))
        canvas, answer = self.tokens[len(self.prompt) :][here], self.answer[here]
        correct, masked = predicted == answer, canvas == mask_id
        self.forwards.append(Forward(self.block, confidence, correct, masked))
        stuck = self.before is not None and torch.equal(predicted, self.before)
        self.before = predicted
        take = masked if stuck else masked & correct
        canvas[take] = answer[take]
        if not (canvas == mask_id).any():
            self.block, self.before = self.block + block_length, None


@torch.inference_mode()
def greedy_forwards(
    model: Denoiser,
    prompts: Sequence[list[int]],
    answers: Sequence[list[int]],
    block_length: int,
    batch_size: int = 32,
) -> list[list[Forward]]:
    """Every forward of the extremely greedy decode of each prompt towards its answer."""
    mask_id = model.config.mask_id
    samples = [Sample.of(*pair, mask_id) for pair in zip(prompts, answers, strict=True)]
    waiting = iter(samples)
    live = list(islice(waiting, batch_size))
    while live:
        lengths = torch.tensor([len(sample.tokens) for sample in live])
        tokens = torch.nn.utils.rnn.pad_sequence([sample.tokens for sample in live], batch_first=True)
        starts = torch.tensor([[len(sample.prompt) + sample.block] for sample in live])
        column = torch.arange(tokens.shape[1])
        read = (column >= starts) & (column < starts + block_length) & (column < lengths[:, None])
        at = model.device
        logits = model.logits(tokens.to(at), lengths.to(at), read=read.to(at))
        logits[:, mask_id] = torch.finfo(logits.dtype).min
        confidence, predicted = (part.cpu() for part in logits.softmax(-1).max(-1))
        widths = read.sum(1).tolist()
        for sample, guess, sure in zip(live, predicted.split(widths), confidence.split(widths), strict=True):
            sample.advance(guess, sure, block_length, mask_id)
        live = [sample for sample in live if sample.block < len(sample.answer)]
        live += islice(waiting, batch_size - len(live))
    return [sample.forwards for sample in samples]


def read_answers(source: str, model: Denoiser, limit: int | None) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts and whole generation regions of a trajectories file, decoded with the fixed strategy.

    Raises UserError for malformed lines, and for regions that still hold a mask.
    """
    prompts: list[list[int]] = []
    answers: list[list[int]] = []
    for place, record in read_records(source):
        if limit is not None and len(prompts) >= limit:
            break
        prompt, answer = trajectory_ids(place, record, model.config)
        if model.config.mask_id in answer:
            raise UserError(f"{place}: response_ids holds a mask token; decode with a strategy that finishes")
        prompts.append(prompt)
        answers.append(answer)
    if not prompts:
        raise UserError(f"{source} holds no trajectory")
    return prompts, answers


@dataclass(frozen=True)
class Pairs:
    """Filter training pairs of N forwards, [N, width] each, zero or False behind narrower blocks.

    sample: [N] the prompt each forward belongs to. masked: the positions that count.
    """

    confidence: Tensor
    correct: Tensor
    masked: Tensor
    sample: Tensor

    def of(self, chosen: Tensor) -> Pairs:
        """The pairs of the samples for which `chosen` [samples] is true."""
        keep = chosen[self.sample]
        return Pairs(self.confidence[keep], self.correct[keep], self.masked[keep], self.sample[keep])


def stack(forwards: Sequence[Sequence[Forward]], width: int) -> Pairs:
    """All samples' forwards as one set of pairs."""
    flat = [(index, forward) for index, own in enumerate(forwards) for forward in own]

    def padded(name: str) -> Tensor:
        rows = [getattr(forward, name) for _, forward in flat]
        return torch.stack([torch.nn.functional.pad(row, (0, width - len(row))) for row in rows])

    sample = torch.tensor([index for index, _ in flat])
    return Pairs(padded("confidence"), padded("correct"), padded("masked"), sample)
