"""`python -m harness lm-eval`: lm-eval's own command, and the same answers as `run`'s."""

import json
import shutil
from pathlib import Path

import lm_eval.tasks
import pytest

from harness.cli import main
from tests.checkpoints import edit


def lm_eval_command(checkpoint, *arguments, args="strategy=confidence:threshold=0.05,block_length=4"):
    return main(["lm-eval", "--model", "dllm", "--model_args", f"pretrained={checkpoint},{args}", *arguments])


def test_the_command_runs_lm_evals_own(checkpoint, tasks, tmp_path, capsys):
    arguments = ["--tasks", "toy", "--include_path", str(tasks), "--limit", "3", "--batch_size", "2"]
    arguments += ["--output_path", str(tmp_path), "--log_samples", "--device", "cpu"]
    args = "strategy=confidence:threshold=0.05+dual-cache,block_length=4"
    assert lm_eval_command(checkpoint, *arguments, args=args) == 0
    assert "|nfe" in capsys.readouterr().out
    (file,) = tmp_path.glob("*/results_*.json")
    results = json.loads(file.read_text())
    assert results["config"]["dllm"]["batch_size"] == 2
    assert results["results"]["toy"]["refresh_nfe,none"] == 3
    (file,) = tmp_path.glob("*/samples_toy_*.jsonl")
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(samples) == 3
    assert all(sample["nfe"] >= 3 for sample in samples)


@pytest.mark.slow
def test_run_and_lm_eval_give_the_same_answers(checkpoint, tmp_path):
    options = ["--limit", "4", "--batch-size", "3", "--gen-length", "24", "--block-length", "8"]
    spec = "confidence:threshold=0.05+prefix-cache"
    command = ["run", "--model", str(checkpoint), "--strategies", spec, "--tasks", "demo-gsm8k,demo-math"]
    assert main([*command, *options, "--device", "cpu", "--output", str(tmp_path / "run")]) == 0
    lines = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    ours = {(raw["task"], raw["doc_id"]): raw for raw in map(json.loads, lines)}

    arguments = ["--tasks", "demo-gsm8k,demo-math", "--limit", "4", "--apply_chat_template", "--log_samples"]
    arguments += ["--output_path", str(tmp_path / "lm")]
    args = f"strategy={spec},gen_length=24,block_length=8,batch_size=2"
    assert lm_eval_command(checkpoint, *arguments, args=args) == 0
    theirs = {}
    for file in (tmp_path / "lm").glob("*/samples_*.jsonl"):
        task = file.name.removeprefix("samples_").rsplit("_", 1)[0]
        for sample in map(json.loads, file.read_text().splitlines()):
            theirs[task, sample["doc_id"]] = sample
    assert ours.keys() == theirs.keys()
    for key, sample in theirs.items():
        assert ours[key]["text"].startswith(sample["resps"][0][0])
        assert ours[key]["nfe"] == sample["nfe"]
        assert ours[key]["tokens_scored"] == sample["tokens_scored"]
        assert ours[key]["correct"] == bool(sample["correct"])


@pytest.mark.slow
def test_lm_evals_own_gsm8k_is_runs_under_its_protocol(checkpoint, shared, tmp_path):
    model, folder, data = tmp_path / "model", tmp_path / "tasks", shared / "datasets"
    shutil.copytree(checkpoint, model)
    edit(model / "config.json", max_sequence_length=4096)  # five examples at a byte a token
    folder.mkdir()
    stock = Path(lm_eval.tasks.__file__).parent / "gsm8k" / "gsm8k.yaml"
    files = f"{{test: {data}/gsm8k_test.jsonl, train: {data}/gsm8k_train.jsonl}}"
    (folder / "gsm8k.yaml").write_text(
        f"include: {stock}\ntask: gsm8k\ndataset_path: json\ndataset_name: null\n"
        f"dataset_kwargs: {{data_files: {files}}}\n"
    )
    spec = "confidence:threshold=0.05+dual-cache"
    command = ["run", "--model", str(model), "--strategies", spec, "--tasks", "gsm8k", "--data", str(data)]
    command += ["--protocol", "lm-eval", "--limit", "2", "--gen-length", "8", "--block-length", "4"]
    assert main([*command, "--device", "cpu", "--output", str(tmp_path / "run")]) == 0
    lines = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    ours = {raw["doc_id"]: raw for raw in map(json.loads, lines)}

    arguments = ["--tasks", "gsm8k", "--include_path", str(folder), "--limit", "2", "--log_samples"]
    args = f"strategy={spec},gen_length=8,block_length=4,batch_size=2"
    assert lm_eval_command(model, *arguments, "--output_path", str(tmp_path / "lm"), args=args) == 0
    (file,) = (tmp_path / "lm").glob("*/samples_gsm8k_*.jsonl")
    for sample in map(json.loads, file.read_text().splitlines()):
        own = ours[sample["doc_id"]]
        assert own["text"].startswith(sample["resps"][0][0])
        assert own["nfe"] == sample["nfe"]
        assert own["metrics"][f"exact_match,{sample['filter']}"] == sample["exact_match"]


def test_a_protocol_in_chat_wants_the_chat_template(checkpoint, capsys):
    assert lm_eval_command(checkpoint, "--tasks", "demo-gsm8k", "--limit", "1") == 2
    assert "--apply_chat_template" in capsys.readouterr().err


def test_unknown_task(checkpoint, tasks, capsys):
    assert lm_eval_command(checkpoint, "--tasks", "no-such-task", "--include_path", str(tasks)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: Tasks not found: no-such-task")


def test_unknown_model_argument(capsys):
    assert lm_eval_command("x", "--tasks", "toy", args="strategi=fixed") == 2
    assert "strategi" in capsys.readouterr().err


def test_data_directory_and_protocol_of_bench_tasks(checkpoint, shared, capsys, tmp_path):
    arguments = ["--tasks", "bench-gsm8k", "--data", str(shared / "datasets"), "--protocol", "dparallel"]
    arguments += ["--limit", "2", "--apply_chat_template"]
    args = "strategy=few-step,gen_length=8"
    assert lm_eval_command(checkpoint, *arguments, args=args) == 0
    assert "bench-gsm8k" in capsys.readouterr().out
    arguments[3] = str(tmp_path)
    assert lm_eval_command(checkpoint, *arguments, args=args) == 2
    assert "gsm8k_test.jsonl" in capsys.readouterr().err
