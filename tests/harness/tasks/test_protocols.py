"""Protocols: what each paper's says, and what a wrong file or name is answered with."""

import pytest
import yaml

from harness.errors import UserError
from harness.tasks.protocols import DEFAULT, DIRECTORY, _protocol, load_protocol, protocol_names

PAPERS = ("dparallel", "dparallel-dream", "learn2pd", "fast-dllm", "d3llm")


def test_the_default_is_dparallel_and_comes_first():
    assert protocol_names()[0] == DEFAULT == load_protocol().name == "dparallel"
    assert set(PAPERS) < set(protocol_names())


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_generate_256_tokens_in_blocks_of_32(name):
    lengths = {(task.gen_length, task.block_length) for task in load_protocol(name).tasks.values()}
    assert lengths == {(256, 32)}


@pytest.mark.parametrize(
    ("protocol", "task", "lm_eval", "shots", "chat"),
    [
        ("dparallel", "gsm8k", "gsm8k", 0, True),
        ("dparallel", "math", "minerva_math", 4, True),
        ("dparallel", "mbpp", "mbpp", 3, True),
        ("fast-dllm", "gsm8k", "gsm8k", 5, True),
        ("learn2pd", "gsm8k", "gsm8k", 5, True),
        ("d3llm", "gsm8k", "gsm8k_cot_zeroshot", 0, False),
        ("d3llm", "gsm8k_long", "gsm8k", 5, True),
        ("dparallel-dream", "gsm8k", "gsm8k_cot_zeroshot", 0, True),
    ],
)
def test_shots_and_base_tasks(protocol, task, lm_eval, shots, chat):
    settings = load_protocol(protocol).tasks[task]
    assert (settings.lm_eval, settings.shots, settings.chat) == (lm_eval, shots, chat)


def test_the_boxed_tail_is_on_gsm8k_alone():
    tail = r" Please reason step by step, and put your final answer within \boxed{}."
    assert load_protocol("dparallel").tasks["gsm8k"].tail == tail
    assert load_protocol("d3llm").tasks["gsm8k_long"].tail == tail
    assert load_protocol("d3llm").tasks["gsm8k"].tail == ""
    assert load_protocol("dparallel").tasks["math"].tail == ""


def test_the_hash_covers_everything_that_is_said_but_not_the_words_around_it():
    raw = yaml.safe_load((DIRECTORY / "dparallel.yaml").read_text())
    first = _protocol(raw).hash
    raw["about"] = "other words"
    assert _protocol(raw).hash == first == load_protocol("dparallel").hash
    raw["tasks"]["gsm8k"]["tail"] += " "
    assert _protocol(raw).hash != first
    assert len({load_protocol(name).hash for name in protocol_names()}) == len(protocol_names())


def test_a_protocol_of_ones_own_is_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    defaults = "defaults: {shots: 1, chat: false, gen_length: 64, block_length: 8}"
    path.write_text(f"name: mine\nabout: mine\n{defaults}\ntasks: {{gsm8k: {{lm_eval: gsm8k}}}}\n")
    assert load_protocol(str(path)).tasks["gsm8k"].gen_length == 64


@pytest.mark.parametrize(
    "text",
    ["name: x", "- a", "{", "name: x\nabout: x\ntasks: {gsm8k: {lm_eval: gsm8k, shotz: 5}}"],
)
def test_a_file_that_is_no_protocol_is_named(tmp_path, text):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"wrong\.yaml: not a protocol"):
        load_protocol(str(path))


def test_an_unknown_protocol_lists_the_known():
    with pytest.raises(UserError, match=r"'dparalel'; did you mean dparallel.* \(there are dparallel,"):
        load_protocol("dparalel")
