"""Text to ids and back as a checkpoint's own tokenizer files say, chat template included."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UserError

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
# The names that the releases give their special tokens, tried where the files name no role for them.
MASK_NAMES = ("<|mdm_mask|>", "<|mask|>", "[MASK]")
TURN_NAMES = ("<|eot_id|>", "<|im_end|>")


class Tokenizer:
    """A fast transformers tokenizer, reduced to what decoding and scoring use."""

    def __init__(self, fast: Any) -> None:
        self.fast = fast

    @property
    def has_chat(self) -> bool:
        return self.fast.chat_template is not None

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return max(self.fast.get_vocab().values()) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of a prompt; a text that begins with the BOS token, as chat templates do, gets no second."""
        bos = self.fast.bos_token
        own = bool(bos) and text.startswith(bos)
        # Not verbose: it warns of texts beyond the context, which are refused in words of our own.
        return self.fast.encode(text, add_special_tokens=not own, verbose=False)

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        return self.fast.decode(
            list(ids), skip_special_tokens=skip_special, clean_up_tokenization_spaces=False
        )

    def render(
        self, messages: list[dict[str, str]], generation_prompt: bool = True, template: str | None = None
    ) -> str:
        """The text of a conversation; messages are {"role": ..., "content": ...}.

        template: the name of one of several templates. Raises UserError without a chat template, or where
        it refuses the conversation (a system message, say).
        """
        from jinja2 import TemplateError

        if not self.has_chat:
            raise UserError(
                "the model's tokenizer has no chat template (a base model?); use a protocol without chat"
            )
        try:
            return self.fast.apply_chat_template(
                messages,
                chat_template=template and self.template(template),
                tokenize=False,
                add_generation_prompt=generation_prompt,
                continue_final_message=not generation_prompt,
            )
        except TemplateError as error:
            raise UserError(f"the model's chat template refuses the conversation: {error}") from error

    def template(self, name: str | None = None) -> str:
        """The text of the chat template, or of the one called `name` of several. Raises UserError."""
        held = self.fast.chat_template
        names = list(held) if isinstance(held, dict) else []
        if name is not None and name not in names:
            raise UserError(
                f"the tokenizer has no chat template {name!r}; it has {', '.join(names) or 'an unnamed one'}"
            )
        return self.fast.get_chat_template(name)

    def chat(self, text: str) -> list[int]:
        """Ids of `text` as the user's one turn, up to where the assistant's begins."""
        return self.encode(self.render([{"role": "user", "content": text}]))

    def response(self, ids: Sequence[int], terminators: Iterable[int]) -> str:
        """The text of a generation before its first terminator, special tokens removed."""
        return self.decode(ids[: before_first(ids, terminators)])

    def mask_id(self) -> int | None:
        """The mask token that the files name, None where they name none."""
        if self.fast.mask_token_id is not None:
            return self.fast.mask_token_id
        return next((self._added[name] for name in MASK_NAMES if name in self._added), None)

    def terminators(self) -> list[int]:
        """The end-of-text token, then the tokens that end a turn: by name, and by the chat template's use."""
        found = [self.fast.eos_token_id] + [self._added[name] for name in TURN_NAMES if name in self._added]
        return [token for token in dict.fromkeys([*found, self._turn_end()]) if token is not None]

    @property
    def _added(self) -> dict[str, int]:
        return self.fast.get_added_vocab()

    def _turn_end(self) -> int | None:
        """The special token that the chat template writes after an assistant's message, if any."""
        if not self.has_chat:
            return None
        said = "0"
        try:
            text = self.fast.apply_chat_template(
                [{"role": "user", "content": said}, {"role": "assistant", "content": said}], tokenize=False
            )
        except Exception:  # a template is a program of the checkpoint's author, and may refuse anything
            return None
        after = self.fast.encode(text[text.rindex(said) + len(said) :], add_special_tokens=False)
        return after[0] if after and after[0] in self._added.values() else None


def before_first(ids: Sequence[int], terminators: Iterable[int]) -> int:
    """How many tokens stand before the first terminator."""
    ends = set(terminators)
    return next((at for at, token in enumerate(ids) if token in ends), len(ids))


def load_tokenizer(directory: Path) -> Tokenizer | None:
    """The tokenizer of a checkpoint's directory, None where it has no tokenizer files.

    The class that the files name is not consulted: `tokenizer.json` says everything, and Dream's own
    class is Qwen2's byte-level BPE over vocab.json and merges.txt, so no code of the checkpoint runs.
    Raises UserError for damaged files.
    """
    whole = (directory / "tokenizer.json").exists()
    if not whole and not all((directory / name).exists() for name in ("vocab.json", "merges.txt")):
        return None
    import transformers
    from transformers.utils import logging

    fast: Any = getattr(transformers, "PreTrainedTokenizerFast" if whole else "Qwen2TokenizerFast")
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns that the class differs from the one named
    try:
        return Tokenizer(fast.from_pretrained(directory, local_files_only=True))
    except Exception as error:  # the tokenizers library raises bare Exception for a malformed file
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{directory}: the tokenizer files cannot be read ({reason}); download them again"
        ) from error
    finally:
        logging.set_verbosity(verbosity)


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer files and generation_config.json of one model directory to another."""
    for name in (*FILES, "generation_config.json"):
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
