"""Reading distillation data: both forms, and every mistake named with its line."""

import json

import pytest
import torch

from harness.errors import UserError
from training.data import Canvas, Collator, Example, Examples, read_examples

CANVAS = Canvas(response_length=6)
END, TURN = 29, 30  # the terminators of the tiny config


def write(path, *records):
    path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in records))
    return str(path)


def trajectory(**change):
    return {"prompt_ids": [1, 2], "response_ids": [3, END, 7], "commit_step": [1, 2, 3], **change}


def test_trajectories_end_at_the_first_terminator_and_keep_their_steps(tmp_path, config, tokenizer):
    write(tmp_path / "trajectories.jsonl", trajectory(), trajectory(response_ids=[TURN, END, END]))
    first, second = read_examples(str(tmp_path), config, tokenizer, CANVAS)
    assert first == Example([1, 2], [3, END], [1, 2, 3])
    assert second.response_ids == [TURN]


def test_released_form_gets_the_chat_template_once_and_an_end(tmp_path, config, tokenizer):
    source = write(
        tmp_path / "d.jsonl",
        {"question": "ab", "llm_response": "cd"},
        {"question": "<user>ab", "llm_response": "cd<end>"},
    )
    first, second = read_examples(source, config, tokenizer, CANVAS)
    assert first == second == Example([28, 0, 1], [2, 3, END], None)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", r"line 2: not JSON"),
        ("[1]", r"line 2: a JSON object is needed"),
        ({"question": "a"}, r"line 2: llm_response missing"),
        ({"question": "a", "llm_response": ""}, r"line 2: .* empty"),
        (trajectory(prompt_ids=[]), r"line 2: prompt_ids must be"),
        (trajectory(response_ids=["x"]), r"line 2: response_ids must be"),
        (trajectory(response_ids=[99, 1, 2]), r"line 2: response_ids has ids outside"),
        (trajectory(commit_step=[1]), r"line 2: commit_step must have"),
        (trajectory(commit_step=["x"] * len(trajectory()["response_ids"])), r"line 2: commit_step must hold"),
        (trajectory(prompt_ids=[True]), r"line 2: prompt_ids must be"),
    ],
)
def test_malformed_lines_are_named(tmp_path, config, tokenizer, bad, message):
    source = write(tmp_path / "d.jsonl", trajectory(), bad)
    with pytest.raises(UserError, match=message):
        read_examples(source, config, tokenizer, CANVAS)


def test_a_line_that_is_not_utf_8_is_named(tmp_path, config, tokenizer):
    source = write(tmp_path / "d.jsonl", trajectory())
    with open(source, "ab") as file:
        file.write(b'{"question": "\xff"}\n')
    with pytest.raises(UserError, match="line 2: not JSON in UTF-8"):
        read_examples(source, config, tokenizer, CANVAS)


def test_what_is_left_out_is_counted_and_said(tmp_path, config, tokenizer, capsys):
    long = trajectory(response_ids=[3] * 6 + [END], commit_step=None)
    open_ended = trajectory(response_ids=[3], commit_step=None)
    source = write(tmp_path / "d.jsonl", trajectory(), long, long, open_ended)
    assert len(read_examples(source, config, tokenizer, CANVAS)) == 1
    said = capsys.readouterr().err
    assert "2 too long, 1 unfinished (no end of text) of 4 examples left out" in said
    assert len(read_examples(source, config, tokenizer, Canvas(length=9))) == 3


def test_data_with_nothing_in_it_is_an_error(tmp_path, config, tokenizer):
    with pytest.raises(UserError, match="no usable example"):
        read_examples(write(tmp_path / "d.jsonl"), config, tokenizer, CANVAS)
    with pytest.raises(UserError, match="does not exist"):
        read_examples(str(tmp_path / "absent.jsonl"), config, tokenizer, CANVAS)
    with pytest.raises(UserError, match="either length"):
        Canvas()


def test_rows_end_where_a_decode_would_end(config):
    examples = Examples([Example([1, 2], [3, END], [2, 1, 3]), Example([1], [3, 4, TURN])])
    batch = Collator(CANVAS, config)([examples[0], examples[1]])
    assert batch["tokens"].tolist() == [[1, 2, 3] + [END] * 5, [1, 3, 4, TURN] + [END] * 4]
    assert batch["lengths"].tolist() == [8, 7]
    assert batch["prompt_lengths"].tolist() == [2, 1]
    assert batch["commit_step"].tolist() == [[0, 0, 2, 1, 3, 4, 4, 4], [0] + [1] * 6 + [0]]
    assert torch.equal(Collator(Canvas(length=10), config)([examples[1]])["lengths"], torch.tensor([10]))


def test_a_trajectory_longer_than_its_row_keeps_the_steps_of_the_row(config):
    """The teacher decodes its whole region; a row may leave less of it, and another row in the batch more."""
    short = Example([1], [3, END], [4, 1, 2, 3, 5, 6, 7, 8])
    long = Example([1, 2, 3], [3, END], [1, 2])
    batch = Collator(CANVAS, config)([{"index": 0, "example": short}, {"index": 1, "example": long}])
    assert batch["commit_step"].tolist() == [[0, 4, 1, 2, 3, 5, 6, 0, 0], [0, 0, 0, 1, 2, 3, 3, 3, 3]]
