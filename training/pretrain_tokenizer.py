"""The demo model's tokenizer: byte-level BPE over the demo problems, one token for every number up to 99."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, MASK, TURN_END, BOS = "<|endoftext|>", "<|mask|>", "<|eot|>", "<|bos|>"
USER, ASSISTANT = "<|user|>", "<|assistant|>"
SPECIAL = (PAD, MASK, TURN_END, BOS, USER, ASSISTANT)
# A number never carries its space (the word before it does), so that 12 is one token wherever it stands.
PIECES = r" ?\\?[A-Za-z_]+(?: (?=\d))?|\d{1,2}|\n *| ?[^\sA-Za-z_\d]+(?: (?=\d))?|\s+"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|eot|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], size: int, context: int) -> PreTrainedTokenizerFast:
    """A tokenizer of at most `size` entries; every string survives encoding and decoding unchanged."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    numbers = " ".join(str(number) for number in range(10, 100))
    bpe.train_from_iterator([*texts, *[numbers] * 1000], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=PAD,
        pad_token=PAD,
        mask_token=MASK,
        additional_special_tokens=[TURN_END, USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
        model_max_length=context,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, in the form that transformers 4 and 5 both read."""
    tokenizer.save_pretrained(directory, save_jinja_files=False)
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config.pop("backend", None)
    config |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": config.pop("extra_special_tokens", [TURN_END, USER, ASSISTANT]),
        "chat_template": tokenizer.chat_template,
    }
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
