"""The teacher's trajectories: what is kept, and that an interruption changes nothing."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from harness.models.config import ModelConfig
from harness.models.loading import load_model, save_model
from harness.models.transformer import build
from harness.tasks.demo import generate, gold_response, prompt_text
from training.__main__ import main
from training.data import Canvas, read_examples
from training.pretrain_tokenizer import save_tokenizer, train_tokenizer
from training.problems import SplitTask, encode_problem
from training.trajectories import only_correct

SUITE = "demo-gsm8k"
OPTIONS = ["--gen-length", "8", "--block-length", "4", "--batch-size", "2", "--strategy", "fixed:steps=4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_config):
    """An untrained model with a tokenizer of the demo's kind."""
    directory = tmp_path_factory.mktemp("model")
    docs = generate(SUITE, "train", 20)
    tokenizer = train_tokenizer([prompt_text(doc) for doc in docs], 400, 256)
    save_tokenizer(tokenizer, directory)
    rows = len(tokenizer)
    ids = {"mask_token_id": 1, "pad_token_id": 0, "eos_token_id": [0, 2], "max_sequence_length": 512}
    config = {**tiny_config, **ids, "vocab_size": rows, "embedding_size": rows}
    torch.manual_seed(0)
    save_model(build(ModelConfig.from_json(config)), config, directory)
    return directory


def make(model, output, *more):
    return main(["trajectories", "--model", str(model), "--output", str(output), *OPTIONS, *more])


def lines(output):
    return (output / "trajectories.jsonl").read_text().splitlines()


def test_a_task_s_training_problems_are_decoded_in_their_order(tmp_path, model):
    assert make(model, tmp_path, "--tasks", SUITE, "--limit", "5") == 0
    records = [json.loads(line) for line in lines(tmp_path)]
    assert [record["doc_id"] for record in records] == list(range(5))
    docs = generate(SUITE, "train", 5)
    assert [record["question"] for record in records] == [doc["question"] for doc in docs]
    loaded = load_model(str(model), device="cpu")
    problems = SplitTask.of(SUITE, "train", 5).problems()
    assert [record["prompt_ids"] for record in records] == [encode_problem(p, loaded) for p in problems]
    assert all(len(record["response_ids"]) == len(record["commit_step"]) == 8 for record in records)
    assert all(record["nfe"] == 4 for record in records)


def test_another_question_or_another_model_in_the_same_place_is_refused(tmp_path, model, capsys):
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "What is 1 plus 1?"}\n')
    copied = shutil.copytree(model, tmp_path / "model")
    arguments = ["--questions", str(questions)]
    assert make(copied, tmp_path / "out", *arguments) == 0
    before = lines(tmp_path / "out")
    questions.write_text('{"question": "What is 2 plus 2?"}\n')
    assert make(copied, tmp_path / "out", *arguments) == 2
    assert "answered another question 0" in capsys.readouterr().err
    questions.write_text('{"question": "What is 1 plus 1?"}\n')
    weights = load_file(copied / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, copied / "model.safetensors")
    assert make(copied, tmp_path / "out", *arguments) == 2
    assert "another state of the model's files" in capsys.readouterr().err
    assert lines(tmp_path / "out") == before


def test_lengths_that_cannot_be_leave_the_directory_to_the_mended_command(tmp_path, model, capsys):
    arguments = ["--tasks", SUITE, "--limit", "1"]
    assert make(model, tmp_path / "out", *arguments, "--block-length", "16") == 2
    assert "block length 16 exceeds generation length 8" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert make(model, tmp_path / "out", *arguments) == 0


def test_an_interrupted_run_continues_and_gives_the_same_file(tmp_path, model, capsys):
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(f'{{"question": "What is {n} plus {n}?"}}\n' for n in range(7)))
    arguments = ["--questions", str(questions)]
    make(model, tmp_path / "whole", *arguments)
    make(model, tmp_path / "half", *arguments)
    decoded = tmp_path / "half" / "decoded.jsonl"
    text = decoded.read_text()
    decoded.write_text(text[: len(text) // 2])  # killed in the middle of a line
    (tmp_path / "half" / "trajectories.jsonl").unlink()
    capsys.readouterr()
    assert make(model, tmp_path / "half", *arguments) == 0
    assert "prompts are decoded already" in capsys.readouterr().err
    assert lines(tmp_path / "whole") == lines(tmp_path / "half")
    assert len(lines(tmp_path / "half")) == 7


def test_another_teacher_in_the_same_place_is_refused(tmp_path, model, capsys):
    make(model, tmp_path, "--tasks", SUITE, "--limit", "1")
    assert make(model, tmp_path, "--tasks", SUITE, "--limit", "1", "--dtype", "float64") == 2
    assert "another --dtype" in capsys.readouterr().err
    assert make(model, tmp_path / "b", "--questions", "absent.jsonl") == 2
    assert make(model, tmp_path / "c", "--questions", "x.jsonl", "--only-correct") == 2
    assert make(model, tmp_path / "d", "--tasks", "no-such-task") == 2


def test_more_problems_are_added_to_those_decoded_already(tmp_path, model, capsys):
    make(model, tmp_path / "a", "--tasks", SUITE, "--limit", "2")
    assert make(model, tmp_path / "a", "--tasks", SUITE, "--limit", "4") == 0
    assert "2 of 4 prompts are decoded already" in capsys.readouterr().err
    make(model, tmp_path / "b", "--tasks", SUITE, "--limit", "4")
    assert lines(tmp_path / "a") == lines(tmp_path / "b")


def test_requests_for_nothing_and_broken_records_end_in_one_line(tmp_path, model, capsys):
    assert make(model, tmp_path / "a", "--tasks", SUITE, "--limit", "0") == 2
    assert capsys.readouterr().err.startswith("error: argument --limit: 0 must be at least 1")
    (tmp_path / "none.jsonl").write_text("")
    assert make(model, tmp_path / "b", "--questions", str(tmp_path / "none.jsonl")) == 2
    assert "nothing to decode" in capsys.readouterr().err
    make(model, tmp_path / "c", "--tasks", SUITE, "--limit", "1")
    decoded = tmp_path / "c" / "decoded.jsonl"
    decoded.write_text(decoded.read_text() + "[1]\n")
    assert make(model, tmp_path / "c", "--tasks", SUITE, "--limit", "1") == 2
    assert "line 2: no response" in capsys.readouterr().err


def test_only_what_the_scorer_accepts_is_kept(capsys):
    task = SplitTask.of(SUITE, "train", 4)
    docs = generate(SUITE, "train", 4)
    responses = [gold_response(doc) if at % 2 else "#### nothing" for at, doc in enumerate(docs)]
    records = [{"task": SUITE, "doc_id": at, "response": response} for at, response in enumerate(responses)]
    assert [record["doc_id"] for record in only_correct(records, {SUITE: task})] == [1, 3]
    assert "2 of 4" in capsys.readouterr().out


def test_trajectories_are_what_distillation_reads(tmp_path, model):
    make(model, tmp_path, "--tasks", SUITE, "--limit", "6")
    loaded = load_model(str(model), device="cpu")
    path = tmp_path / "trajectories.jsonl"
    ended = [json.loads(line) for line in path.read_text().splitlines()]
    for record in ended:
        record["response_ids"][5] = 0
    path.write_text("".join(f"{json.dumps(record)}\n" for record in ended))
    examples = read_examples(str(tmp_path), loaded.config, loaded.tokenizer, Canvas(response_length=8))
    assert len(examples) == 6
    assert all(len(example.commit_step) == 8 for example in examples)


def test_the_evaluation_hook_decodes_each_epoch_and_plots(tmp_path, model):
    rows = [{"prompt_ids": [3, 4, at], "response_ids": [at, at, 0]} for at in range(10, 18)]
    (tmp_path / "trajectories.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    recipe = {
        "lora": {"r": 2, "alpha": 2, "targets": ["q_proj"]},
        "data": {"response_length": 7},
        "training": {"num_train_epochs": 2, "use_cpu": True, "disable_tqdm": True, "report_to": "none"},
        "evaluation": {"tasks": [SUITE], "strategy": "fixed:steps=8", "limit": 2, "split": "train"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    paths = ["--data", str(tmp_path), "--config", str(tmp_path / "recipe.yaml")]
    places = ["--output", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    assert main(["distill", "--model", str(model), *paths, *places]) == 0
    measured = [
        json.loads(line) for line in (tmp_path / "work" / "evaluation.jsonl").read_text().splitlines()
    ]
    assert [row["epoch"] for row in measured] == [0, 1, 2]
    assert all(row["nfe"] == 8 and row["problems"] == 2 for row in measured)
    assert (tmp_path / "out" / "evaluation.png").stat().st_size > 0
    assert "Decoded after each epoch" in (tmp_path / "out" / "README.md").read_text()
