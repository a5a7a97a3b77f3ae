"""The yardstick: one sample at a time, float64 softmax over the whole sequence, loops over rows in Python.

The shape of the published scripts (LLaDA, Fast-dLLM, dParallel, Learn2PD), written plainly for this
comparison: nothing here is shared with the decode loop but the model's modules.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.errors import UserError
from harness.models.transformer import Denoiser
from strategies import Strategy
from strategies.cache import DualCache, NoCache, PrefixCache
from strategies.stop import EndOfTextPrediction, FullLength
from strategies.unmask import Confidence, Entropy, Factor, FixedSteps, LearnedFilter, Oracle

Kept = list[tuple[Tensor, Tensor]]


@dataclass
class Guess:
    """Of every position: the token to commit, the one predicted, its probability and entropy, [1, L] each."""

    token: Tensor
    predicted: Tensor
    confidence: Tensor
    entropy: Tensor | None

    def at(self, first: int, last: int) -> Guess:
        """Those of columns [first, last)."""
        token, predicted, confidence = (
            part[:, first:last] for part in (self.token, self.predicted, self.confidence)
        )
        entropy = self.entropy[:, first:last] if self.entropy is not None else None
        return Guess(token, predicted, confidence, entropy)


def check(strategy: Strategy) -> None:
    """Raise UserError for what the published scripts do not do and this loop therefore does not know."""
    rule = strategy.unmask
    plain_fixed = isinstance(rule, FixedSteps) and (rule.remasking, rule.schedule, rule.eos) == (
        "low-confidence",
        "uniform",
        "free",
    )
    known = isinstance(rule, Confidence | Entropy | LearnedFilter | Oracle) or plain_fixed
    known = known or (isinstance(rule, Factor) and rule.variant == "published")
    cache, stop = strategy.cache, strategy.stop
    known = known and (isinstance(cache, NoCache) or getattr(cache, "refresh", None) == "rule")
    known = known and getattr(cache, "suffix", "live") == "live"
    known = known and isinstance(cache, NoCache | PrefixCache | DualCache)
    known = known and isinstance(stop, FullLength | EndOfTextPrediction)
    if not known or getattr(stop, "trigger", "predicted") != "predicted":
        raise UserError(
            f"--naive does not know {strategy.spec!r}: it has fixed, confidence, factor, entropy, learn2pd"
            " and oracle with their published settings, prefix-cache, dual-cache and eotp"
        )


@torch.inference_mode()
def naive(
    model: Denoiser,
    prompt: list[int],
    strategy: Strategy,
    gen_length: int,
    block_length: int,
    answer: list[int] | None = None,
) -> tuple[list[int], int]:
    """Output tokens and forwards of one sample. answer: the reference decode that an oracle imitates."""
    mask_id, device = model.config.mask_id, model.device
    start, end, nfe = len(prompt), len(prompt) + gen_length, 0
    x = torch.full((1, end), mask_id, dtype=torch.long, device=device)
    x[0, :start] = torch.tensor(prompt, device=device)
    for block in range(start, end, block_length):
        entered, step = min(block + block_length, end) - block, 0
        kept: Kept | None = None
        while block < end and bool((x[:, block : min(block + block_length, end)] == mask_id).any()):
            stop = min(block + block_length, end)
            first, last = 0, end
            if kept is not None:
                first, last = block, stop if isinstance(strategy.cache, DualCache) else end
            reads_first = strategy.unmask.reads_block or bool(x[0, block] == mask_id)
            logits, written = forward(model, x, kept, first, last, reads_first)
            if kept is None and not isinstance(strategy.cache, NoCache):
                kept = written
            guess = guess_all(logits, mask_id, isinstance(strategy.unmask, Entropy))
            if answer is not None:
                guess = imitate(guess, logits, torch.tensor([prompt + answer], device=device)[:, first:last])
            fraction = (block - start, min(block_length, start + gen_length - block), gen_length)
            chosen = choose(
                strategy,
                guess.at(block - first, stop - first),
                x[:, block:stop] == mask_id,
                entered,
                step,
                fraction,
            )
            if isinstance(strategy.stop, EndOfTextPrediction):
                reach = end if isinstance(strategy.cache, NoCache) else stop
                seen = guess.at(block - first, reach - first)
                kept_columns = cut(
                    strategy, seen, x[:, block:reach] == mask_id, stop - block, model, fraction
                )
                end = min(end, block + kept_columns)
            for column in chosen:
                if block + column < end:
                    x[0, block + column] = guess.token[0, block - first + column]
            x = x[:, :end]
            if kept is not None:
                kept = [(k[:, :end], v[:, :end]) for k, v in kept]
            nfe, step = nfe + 1, step + 1
        if block >= end:
            break
    return x[0, start:].tolist(), nfe


def forward(
    model: Denoiser, x: Tensor, kept: Kept | None, first: int, last: int, reads_first: bool
) -> tuple[Tensor, Kept]:
    """Logits [1, n, V] of columns [first, last), and every layer's keys and values [1, L, H, D]."""
    lead = int(
        model.config.shift and first > 0 and reads_first
    )  # a shifted model predicts a column one before it
    begin = first - lead
    cos, sin = (table[begin:last] for table in model.rope(x.shape[1]))
    hidden = model.embedding(x[:, begin:last])
    written: Kept = []
    for layer, block in enumerate(model.blocks):
        q, k, v = block.qkv(hidden, cos, sin)
        if kept is not None:
            old_k, old_v = kept[layer]
            k = torch.cat((old_k[:, :begin], k, old_k[:, last:]), 1)
            v = torch.cat((old_v[:, :begin], v, old_v[:, last:]), 1)
            kept[layer] = (k, v)
        written.append((k, v))
        gqa = q.shape[2] != k.shape[2]
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, enable_gqa=gqa)
        hidden = block.finish(hidden, out.transpose(1, 2).flatten(2))
    logits = model.head(hidden)
    if model.config.shift:
        logits = logits[:, :-1] if lead else torch.cat((logits[:, :1], logits[:, :-1]), 1)
    return logits, written


def guess_all(logits: Tensor, mask_id: int, entropy: bool) -> Guess:
    """Statistics of every position in float64, as the scripts take them."""
    token = logits.index_fill(-1, torch.tensor([mask_id], device=logits.device), -torch.inf).argmax(-1)
    p = F.softmax(logits.to(torch.float64), -1)
    confidence = p.gather(-1, token[..., None])[..., 0]
    return Guess(token, token, confidence, -(p * (p + 1e-12).log()).sum(-1) if entropy else None)


def imitate(guess: Guess, logits: Tensor, reference: Tensor) -> Guess:
    """The guess with the reference's tokens in place of the model's own."""
    p = F.softmax(logits.to(torch.float64), -1)
    return Guess(reference, guess.predicted, p.gather(-1, reference[..., None])[..., 0], None)


def choose(
    strategy: Strategy, guess: Guess, masked: Tensor, entered: int, step: int, fraction: tuple[int, int, int]
) -> list[int]:
    """Columns of the active block to commit, by a sort and a loop."""
    rule = strategy.unmask
    score = -guess.entropy if guess.entropy is not None else guess.confidence
    score = torch.where(masked, score, -torch.inf)[0]
    order = [i for i in score.argsort(descending=True, stable=True).tolist() if bool(masked[0, i])]
    taken = 1
    if isinstance(rule, FixedSteps | LearnedFilter):
        taken = quota(rule, entered, step, fraction)
    accepted = set(order[:taken])
    for n, column in enumerate(order, 1):
        value = float(score[column])
        if isinstance(rule, Confidence) and value >= rule.threshold:
            accepted.add(column)
        if isinstance(rule, Entropy) and value >= -rule.threshold:
            accepted.add(column)
        if isinstance(rule, Oracle) and bool(guess.predicted[0, column] == guess.token[0, column]):
            accepted.add(column)
        if isinstance(rule, Factor) and n > 1:
            if value < 1 - rule.factor / (n + 1):
                break
            accepted.add(column)
    if isinstance(rule, LearnedFilter):
        accepted |= vouched(rule, guess, masked, fraction[1])
    return sorted(accepted)


def quota(rule: FixedSteps | LearnedFilter, entered: int, step: int, fraction: tuple[int, int, int]) -> int:
    """Positions that the uniform schedule commits at this forward, the best one at least."""
    offset, width, gen_length = fraction
    steps = rule.steps.count(gen_length) if rule.steps else gen_length
    forwards = max(1, steps * (offset + width) // gen_length - steps * offset // gen_length)
    return max(1, entered // forwards + (step < entered % forwards))


def vouched(rule: LearnedFilter, guess: Guess, masked: Tensor, width: int) -> set[int]:
    """Columns that the filter accepts."""
    network = rule.network()
    inputs = torch.zeros(1, network.width)
    inputs[:, : masked.shape[1]] = guess.confidence[:, : masked.shape[1]].float()
    accept = network(inputs)[0].sigmoid() > rule.threshold
    return {i for i in range(masked.shape[1]) if bool(masked[0, i]) and i < width and bool(accept[i])}


def cut(
    strategy: Strategy,
    seen: Guess,
    masked: Tensor,
    width: int,
    model: Denoiser,
    fraction: tuple[int, int, int],
) -> int:
    """Columns to keep, counted from the block's first, as EoTP cuts; `width` are the block's."""
    ends = ((seen.token == model.config.terminators[0]) & masked)[0].tolist()
    places = [i for i, end in enumerate(ends) if end]
    if not places:
        return fraction[2]
    if isinstance(strategy.unmask, LearnedFilter):
        sure = vouched(strategy.unmask, seen.at(0, width), masked[:, :width], fraction[1])
        certain = [i for i in places if i in sure]
        if certain:
            return certain[0] + 1
    return max(places, key=lambda i: float(seen.confidence[0, i])) + 1
