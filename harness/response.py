"""Text to prompt ids, and a generation to the text that is judged and the tokens that TPF counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.models.tokenizer import Tokenizer, before_first
from harness.tasks.postprocess import cut


@dataclass(frozen=True)
class Response:
    """What a generation says.

    text: before the first terminator, special tokens removed, stop strings not applied. tokens_raw,
    tokens_eos, tokens_scored: all tokens, those before the first terminator, and those of them that the
    text before the first stop string needs.
    """

    text: str
    tokens_raw: int
    tokens_eos: int
    tokens_scored: int


def prompt_ids(tokenizer: Tokenizer, prompt: str, *, chat: bool, prefix: str = "") -> list[int]:
    """Ids of a prompt: as the user's turn where `chat`, followed by the opening of the answer."""
    if chat:
        prompt = tokenizer.render([{"role": "user", "content": prompt}])
    return tokenizer.encode(prompt + prefix)


def read_response(
    output_ids: Sequence[int], tokenizer: Tokenizer, terminators: Iterable[int], until: Iterable[str]
) -> Response:
    """The response in the generation region `output_ids`."""
    said = before_first(output_ids, terminators)
    text = tokenizer.decode(output_ids[:said])
    kept = len(cut(text, until))
    scored = said
    if kept < len(text):
        low = 0
        while low < scored:  # the fewest tokens whose text reaches the stop string
            middle = (low + scored) // 2
            if len(tokenizer.decode(output_ids[:middle])) < kept:
                low = middle + 1
            else:
                scored = middle
    return Response(text, len(output_ids), said, scored)
