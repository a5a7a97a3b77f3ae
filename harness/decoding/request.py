"""What cannot be decoded is said before anything is: lengths, prompts and references are checked here."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import UserError
from harness.models.transformer import Denoiser
from strategies import Strategy


def check_region(strategy: Strategy, gen_length: int, block_length: int) -> None:
    """Raise UserError or SpecError where the strategy cannot decode a region of these lengths."""
    if gen_length < 1 or block_length < 1:
        raise UserError(f"generation length {gen_length} and block length {block_length} must be at least 1")
    if block_length > gen_length:
        raise UserError(
            f"block length {block_length} exceeds generation length {gen_length}; lower --block-length"
        )
    strategy.check(gen_length, block_length)


def check_prompt(model: Denoiser, prompt: list[int], gen_length: int, name: str) -> None:
    """Raise UserError, naming the prompt, where it is empty, too long or not of the model's tokens."""
    if not prompt:
        raise UserError(f"prompt {name} is empty; give at least one token")
    if len(prompt) + gen_length > model.config.max_length:
        raise UserError(
            f"prompt {name} has {len(prompt)} tokens; with generation length {gen_length} it exceeds"
            f" the model's context of {model.config.max_length}; shorten it or lower --gen-length"
        )
    rows = model.config.vocab_rows
    if not 0 <= min(prompt) <= max(prompt) < rows:
        raise UserError(f"prompt {name} holds a token id outside the model's vocabulary of {rows}")


def check_request(
    model: Denoiser,
    prompts: Sequence[list[int]],
    strategy: Strategy,
    gen_length: int,
    block_length: int,
    references: Sequence[list[int]] | None,
) -> None:
    """Raise UserError (or SpecError) for what cannot be decoded."""
    check_region(strategy, gen_length, block_length)
    if strategy.unmask.needs_reference and references is None:
        raise UserError(f"{strategy.spec} needs the reference decode of every prompt")
    for number, prompt in enumerate(prompts):
        check_prompt(model, prompt, gen_length, str(number))
    rows = model.config.vocab_rows
    for number, reference in enumerate(references or ()):
        if len(reference) and not 0 <= min(reference) <= max(reference) < rows:
            raise UserError(f"reference {number} holds a token id outside the model's vocabulary of {rows}")
