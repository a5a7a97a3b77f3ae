"""What pretraining sees: tokenised demo problems, batches of one length, and the masks over their answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from harness.tasks.demo import Doc, generate, gold_response, prompt_text
from harness.tasks.demo.common import DIGIT, TOP, apply
from training.pretrain_tokenizer import TURN_END

DRILL_SUMS = 10  # a row
FRONTIER = 8  # tokens that a frontier row asks for


class Rows(NamedTuple):
    """Tokenised problems: `tokens` [N, C] padded with end-of-text; the answer is [prompt, total) of a row."""

    tokens: Tensor
    prompt: Tensor
    total: Tensor

    def take(self, index: Tensor) -> Rows:
        """The rows of `index`."""
        return Rows(self.tokens[index], self.prompt[index], self.total[index])


class Batch(NamedTuple):
    """A noised batch: `noisy` and `clean` [B, L], `weight` [B, L] of each prediction in the loss."""

    noisy: Tensor
    clean: Tensor
    weight: Tensor


def encode_prompt(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The prompt's ids behind the chat template, up to where the answer begins."""
    messages = [{"role": "user", "content": text}]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return tokenizer(str(rendered), add_special_tokens=False).input_ids


def tokenise(tokenizer: PreTrainedTokenizerFast, docs: list[Doc], word: Callable[[str], str] = str) -> Rows:
    """Prompt, answer as `word` gives it, and end-of-turn of every problem, padded with end-of-text."""
    user, assistant = encode_prompt(tokenizer, "\0")[:2], encode_prompt(tokenizer, "\0")[-2:]
    texts = tokenizer([prompt_text(doc) for doc in docs], add_special_tokens=False).input_ids
    answers = tokenizer([word(gold_response(doc)) for doc in docs], add_special_tokens=False).input_ids
    end = tokenizer.convert_tokens_to_ids(TURN_END)
    prompts = [user + ids + assistant for ids in texts]
    rows = [prompt + answer + [end] for prompt, answer in zip(prompts, answers, strict=True)]
    width = max(map(len, rows))
    padded = [row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows]
    return Rows(
        torch.tensor(padded, dtype=torch.int16),
        torch.tensor(list(map(len, prompts))),
        torch.tensor(list(map(len, rows))),
    )


def corpus(counts: dict[str, int], split: str, seed: int) -> list[Doc]:
    """So many problems of each suite, the suites one after another."""
    return [doc for suite, count in counts.items() for doc in generate(suite, split, count, seed)]


@dataclass(frozen=True)
class Noise:
    """How answers are masked.

    region: generation length of the longest canvas.
    block: block length of the semi-autoregressive patterns.
    uniform: share of rows with one mask ratio over the whole answer; the others keep a clean prefix, mask
        part of the block behind it and all that follows, which is what block-wise decoding shows a model.
    tied: share of rows that hide numbers by value, every occurrence in the answer or none: a result that
        the next step repeats must then be computed and cannot be copied.
    drill: share of batches that are lists of single sums instead of problems; a quarter of it remains in
        the third stage.
    second_stage: the batch from which on there are tied rows and drills; before, the format is learned.
    frontier: share of rows that hide all behind a random place and ask for the next FRONTIER tokens or for
        the rest of the block: which step comes next, and where the answer ends, is then told by nothing but
        the prompt and what is written already. Half of them show the block's last part: decoding often fills
        the end of a block, and then the hole before it.
    third_stage: the batch from which on there are frontier rows.
    fourth_stage: the batch from which on the answers are reworded.
    numbers: ids of the tokens that are numbers.
    equals: id of the equals sign, behind which results stand.
    lengths: the few lengths batches may have, rising, so that kernels are compiled and memory laid out once.
    """

    mask_id: int
    pad_id: int
    region: int
    block: int
    uniform: float
    tied: float
    drill: float
    second_stage: int
    frontier: float
    third_stage: int
    fourth_stage: int
    numbers: tuple[int, ...]
    equals: int
    lengths: tuple[int, ...]


def lay_out(rows: Rows, length: int, pad_id: int) -> Tensor:
    """The rows' clean tokens [B, length], end-of-text behind each answer."""
    tokens = rows.tokens[:, :length].long()
    return torch.nn.functional.pad(tokens, (0, length - tokens.shape[1]), value=pad_id)


def noise_rows(
    rows: Rows,
    length: int,
    noise: Noise,
    generator: torch.Generator,
    tied: float = 0.0,
    frontier: float = 0.0,
    canvas: int | None = None,
) -> Batch:
    """Mask the answers of a batch that is laid out to `length` columns; shares as Noise explains them.

    canvas: generation length of this batch (default: the whole region); what an answer has behind it is cut.
    Every masked position counts alike: a weight that depends on the token, such as a smaller one for
    end-of-text, would teach wrong probabilities of where an answer ends.
    """
    clean, count = lay_out(rows, length, noise.pad_id), len(rows.prompt)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    column = torch.arange(length) - rows.prompt[:, None]
    answer = (rows.total - rows.prompt)[:, None].clamp(max=canvas or noise.region)
    # Half of the rows mask no more than half, where sums with both operands in sight are most frequent.
    ratio = (rand(count, 1) * torch.where(rand(count, 1) < 0.5, 0.5, 1.0)).clamp(min=1e-3)
    everywhere = rand(count, 1) < noise.uniform
    # Half of the prefixes end at a block's boundary, the others anywhere in the answer.
    start = (rand(count, 1) * answer).long()
    start = torch.where(rand(count, 1) < 0.5, start // noise.block * noise.block, start)
    end = torch.where(everywhere, length, (start // noise.block + 1) * noise.block)
    start = torch.where(everywhere, 0, start)
    inside = (column >= start) & (column < end)
    draws = rand(count, length)
    if tied:
        by_value = torch.ones(count, int(clean.max()) + 1)
        known = torch.tensor([token for token in noise.numbers if token < by_value.shape[1]])
        by_value[:, known] = rand(count, len(known))
        draws = torch.where(rand(count, 1) < tied, by_value.gather(1, clean), draws)
    drawn = inside & (draws < ratio)
    hidden = (drawn | (column >= end)) & (column >= 0)
    if frontier:
        cut = (rand(count, 1) * answer).long()
        chosen = rand(count, 1) < frontier
        last = (cut // noise.block + 1) * noise.block
        shown = torch.where(rand(count, 1) < 0.5, cut + 1 + (rand(count, 1) * (last - cut)).long(), last)
        asked = torch.where(rand(count, 1) < 0.5, cut + FRONTIER, last)
        ahead = (column >= cut) & ((column < shown) | (column >= last))
        drawn = torch.where(chosen, ahead & (column < asked), drawn)
        hidden = torch.where(chosen, ahead, hidden)
    return Batch(clean.masked_fill(hidden, noise.mask_id), clean, drawn.float())


def noise_drill(rows: Rows, length: int, noise: Noise, generator: torch.Generator) -> Batch:
    """Ask for the results of half the sums of a list; of the other sums most are hidden altogether.

    So a result that is asked for has masks behind it, as in decoding, and only its own operands to go by.
    """
    clean = lay_out(rows, length, noise.pad_id)
    equals = clean == noise.equals
    result = torch.nn.functional.pad(equals[:, :-1], (1, 0))
    which = torch.nn.functional.pad(equals[:, :-2], (2, 0)).cumsum(1)  # the sum a column belongs to
    fate = torch.rand(len(clean), length, generator=generator).gather(1, which)
    answer = torch.arange(length) >= rows.prompt[:, None]
    asked = result & (fate < 0.5)
    hidden = asked | (answer & (fate > 0.6))
    return Batch(clean.masked_fill(hidden, noise.mask_id), clean, asked.float())


def drills(count: int, seed: int) -> list[Doc]:
    """Lists of single sums in the form of demo-math, every sum of the suites' ranges equally likely."""
    facts = [
        (left, op, right)
        for op, rights in (
            ("+", range(1, DIGIT + 1)),
            ("-", range(1, DIGIT + 1)),
            ("*", range(2, 7)),
            ("/", (2, 3)),
        )
        for left in range(1, TOP + 1)
        for right in rights
        if 1 <= apply(op, left, right) <= TOP and (op != "/" or left % right == 0)
    ]
    rng = random.Random(seed)
    docs = []
    for _ in range(count):
        asked = rng.sample(facts, DRILL_SUMS)
        ending = rng.choice((", ", ". ", ".", ", so "))
        worked = ending.join(f"{left}{op}{right}={apply(op, left, right)}" for left, op, right in asked)
        docs.append({"problem": "Compute.", "solution": worked + "."})
    return docs


def batches(
    rows: Rows,
    reworded: Rows,
    drill: Rows,
    size: int,
    noise: Noise,
    full: float,
    seed: int,
    skip: int = 0,
) -> Iterator[Batch]:
    """Endless batches of prompts of like length; each batch depends on the seed and its number alone.

    rows, reworded: the same problems in the same order, with the suites' own answers and with reworded ones.

    A share `full` of the batches leaves the whole generation region for the answer, the others some blocks of
    it, for speed. How many is drawn without regard to the answers: a canvas that just fits them would tell
    the model where they end, which it must learn from the prompt.
    """
    group, number = 16, skip
    while True:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + number // group)
        index = torch.randint(len(rows.prompt), (group * size,), generator=generator)
        index = index[rows.prompt[index].argsort()]
        order = torch.randperm(group, generator=generator)
        for place in range(number % group, group):
            own = torch.Generator().manual_seed(seed * 7_368_787 + number)
            at = int(order[place])
            worded = reworded if number >= noise.fourth_stage else rows
            chosen = worded.take(index[at * size : (at + 1) * size])
            later = number >= noise.second_stage
            share = noise.drill if number < noise.third_stage else noise.drill / 4
            if later and torch.rand((), generator=own) < share:
                chosen = drill.take(torch.randint(len(drill.prompt), (size,), generator=own))
                length = next(width for width in noise.lengths if width >= int(chosen.total.max()))
                number += 1
                yield noise_drill(chosen, length, noise, own)
                continue
            canvas = noise.region
            if torch.rand((), generator=own) >= full:
                canvas = noise.block * int(torch.randint(1, noise.region // noise.block, (), generator=own))
            longest = int(chosen.prompt.max()) + canvas
            length = next(width for width in noise.lengths if width >= longest)
            last = number >= noise.third_stage
            number += 1
            yield noise_rows(
                chosen,
                length,
                noise,
                own,
                noise.tied if later else 0.0,
                noise.frontier if last else 0.0,
                canvas,
            )
