"""Text, ids and chat templates of the releases' tokenizer files, without any code of theirs."""

import json

import pytest

from harness.errors import UserError
from harness.models.tokenizer import copy_tokenizer, load_tokenizer
from tests.checkpoints import write_dream_tokenizer, write_llada_tokenizer

TEXTS = ["the answer is 42", "  two  spaces\n\ttab ", "é 日本 😀", "def f(x):\n    return x\n", ""]


@pytest.fixture(params=["llada", "dream"])
def family(request):
    return request.param


@pytest.fixture
def tokenizer(family, tmp_path):
    {"llada": write_llada_tokenizer, "dream": write_dream_tokenizer}[family](tmp_path)
    return load_tokenizer(tmp_path)


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_the_way_there_and_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_dreams_own_class_is_not_run(tmp_path):
    ids = write_dream_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert "remote code" in (tmp_path / "tokenization_dream.py").read_text()
    assert {name: tokenizer.fast.convert_tokens_to_ids(name) for name in ids} == ids
    assert tokenizer.encode("a<|im_end|>")[-1] == ids["<|im_end|>"]


def test_chat_is_the_users_turn_up_to_the_assistants(tokenizer, family):
    text = tokenizer.decode(tokenizer.chat(" the question "), skip_special=False)
    assert (
        text
        == {
            "llada": "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nthe question<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "dream": "<|im_start|>user\n the question <|im_end|>\n<|im_start|>assistant\n",
        }[family]
    )
    assert tokenizer.chat("x") == tokenizer.encode(tokenizer.render([{"role": "user", "content": "x"}]))


def test_a_started_answer_is_continued(tokenizer):
    turns = [{"role": "user", "content": "the question"}, {"role": "assistant", "content": "the answer"}]
    assert tokenizer.render(turns, generation_prompt=False).endswith("the answer")


def test_a_named_template_is_applied(tmp_path):
    write_llada_tokenizer(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    plain = {"name": "plain", "template": "{{ messages[0]['content'] }}!"}
    refusing = {"name": "default", "template": "{{ raise_exception('no system role') }}"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": [plain, refusing]}))
    tokenizer, turns = load_tokenizer(tmp_path), [{"role": "user", "content": "the"}]
    assert tokenizer.render(turns, template="plain") == "the!"
    with pytest.raises(UserError, match="no system role"):
        tokenizer.render(turns)
    with pytest.raises(UserError, match="'other'"):
        tokenizer.render(turns, template="other")


def test_bos_is_never_doubled(tmp_path):
    from tokenizers import Tokenizer as Raw
    from tokenizers import processors

    ids = write_llada_tokenizer(tmp_path)
    raw = Raw.from_file(str(tmp_path / "tokenizer.json"))
    bos = "<|startoftext|>"
    raw.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, ids[bos])])
    raw.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("the")[0] == ids[bos]
    assert tokenizer.chat("the").count(ids[bos]) == 1


def test_a_base_model_has_no_chat(tmp_path):
    ids = write_llada_tokenizer(tmp_path, chat=False)
    tokenizer = load_tokenizer(tmp_path)
    assert not tokenizer.has_chat
    assert tokenizer.terminators() == [ids["<|endoftext|>"], ids["<|eot_id|>"]]
    with pytest.raises(UserError, match="chat template"):
        tokenizer.chat("x")


def test_the_end_of_a_turn_is_read_off_the_chat_template(tmp_path):
    write_llada_tokenizer(tmp_path)
    for file in tmp_path.iterdir():
        file.write_text(file.read_text().replace("<|eot_id|>", "<|done|>"))
    tokenizer = load_tokenizer(tmp_path)
    added = tokenizer.fast.get_added_vocab()
    assert tokenizer.terminators() == [added["<|endoftext|>"], added["<|done|>"]]


def test_a_template_that_ends_no_turn_adds_no_terminator(tmp_path):
    ids = write_llada_tokenizer(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    raw = json.loads(path.read_text()) | {"chat_template": "{{ messages[-1]['content'] }}"}
    path.write_text(json.dumps(raw))
    (tmp_path / "tokenizer.json").write_text(
        (tmp_path / "tokenizer.json").read_text().replace("<|eot_id|>", "<|other|>")
    )
    assert load_tokenizer(tmp_path).terminators() == [ids["<|endoftext|>"]]


def test_response_ends_before_the_first_terminator(tokenizer):
    ids = tokenizer.encode("the answer")
    end, turn = tokenizer.terminators()
    assert tokenizer.response([*ids, turn, *ids, end], [end, turn]) == "the answer"
    assert tokenizer.response([end, *ids], [end, turn]) == ""
    assert tokenizer.response(ids, [end, turn]) == "the answer"


def test_no_files_no_tokenizer(tmp_path):
    assert load_tokenizer(tmp_path) is None


def test_a_copied_tokenizer_is_the_same(tokenizer, tmp_path):
    (tmp_path / "copy").mkdir()
    copy_tokenizer(tmp_path, tmp_path / "copy")
    assert load_tokenizer(tmp_path / "copy").chat("the answer") == tokenizer.chat("the answer")
