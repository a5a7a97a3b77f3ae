"""lm-eval with --model dllm: any generation task, any strategy, any batch, with what the samples cost."""

import functools
import json

import lm_eval.tasks
import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from harness.cli import main
from harness.errors import UserError
from harness.lm import DiffusionLM, add_costs
from harness.lm_args import parse_model_args
from strategies import SpecError
from tests.checkpoints import write_checkpoint

QUESTIONS = ["the answer", "is it", "the question is not known and the answer is 42", "def add", "a b c"]
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}, train: {data}}}}}
test_split: test
training_split: train
output_type: {kind}
doc_to_text: "{{{{question}}}}?"
doc_to_target: "{{{{answer}}}}"
num_fewshot: {shots}
generation_kwargs: {{until: [" the", "\\n"], max_gen_toks: {length}, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
SPECS = (
    "fixed",
    "fixed:steps=6,remasking=margin+prefix-cache",
    "confidence:threshold=0.05+dual-cache",
    "entropy:threshold=5.0+eotp",
    "factor",
    "few-step",
    "oracle",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(directory, shards=2)
    return directory


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A directory with the generation tasks `toy` and `toy-shots` and the task of choices `toy-choice`."""
    directory = tmp_path_factory.mktemp("tasks")
    rows = [{"question": question, "answer": str(at)} for at, question in enumerate(QUESTIONS)]
    data = directory / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, shots, length in (("toy", 0, 12), ("toy-shots", 2, 8)):
        text = TASK.format(name=name, data=data, kind="generate_until", shots=shots, length=length)
        (directory / f"{name}.yaml").write_text(text)
    choice = TASK.format(name="toy-choice", data=data, kind="multiple_choice", shots=0, length=1)
    choice = choice.replace("exact_match", "acc").replace('"{{answer}}"', "0")
    (directory / "toy-choice.yaml").write_text(choice + 'doc_to_choice: ["a", "b"]\n')
    return directory


@pytest.fixture(autouse=True)
def no_stock_tasks(monkeypatch):
    """lm-eval's own ten thousand tasks take long to index and are not needed here."""
    init = functools.partialmethod(TaskManager.__init__, include_defaults=False)
    monkeypatch.setattr(lm_eval.tasks.TaskManager, "__init__", init)


@pytest.fixture
def evaluate(checkpoint, tasks):
    def run(*names, limit=None, chat=False, cache=None, **options):
        model = DiffusionLM(**{"pretrained": str(checkpoint), "block_length": 4, **options})
        results = simple_evaluate(
            model,
            tasks=list(names),
            limit=limit,
            task_manager=TaskManager(include_path=str(tasks)),
            apply_chat_template=chat,
            use_cache=cache,
            bootstrap_iters=0,
        )
        return add_costs(results)

    return run


def answers(results, task):
    return [sample["resps"][0][0] for sample in sorted(results["samples"][task], key=lambda s: s["doc_id"])]


@pytest.mark.parametrize("spec", SPECS)
def test_every_strategy_answers_a_task_in_any_batch(evaluate, spec):
    alone, together = (evaluate("toy", strategy=spec, batch_size=size) for size in (1, 3))
    assert answers(alone, "toy") == answers(together, "toy")
    assert len(set(answers(alone, "toy"))) > 1
    for key in ("nfe,none", "refresh_nfe,none", "tpf_raw,none", "query_tokens,none"):
        assert alone["results"]["toy"][key] == together["results"]["toy"][key]
    assert alone["results"]["toy"]["nfe,none"] >= 1
    assert "exact_match,none" in alone["results"]["toy"]


def test_costs_stand_in_results_and_samples(evaluate):
    results = evaluate("toy", strategy="fixed:steps=6")
    table, samples = results["results"]["toy"], results["samples"]["toy"]
    assert table["nfe,none"] == 6
    assert table["tpf_raw,none"] == 2
    assert {sample["nfe"] for sample in samples} == {6}
    assert {sample["tokens_raw"] for sample in samples} == {12}
    total = sum(sample["tokens_eos"] for sample in samples) / sum(sample["nfe"] for sample in samples)
    assert table["tpf_eos,none"] == pytest.approx(total)
    assert results["config"]["dllm"]["strategy"].startswith("fixed:steps=6")
    json.dumps(results["config"])


def test_costs_follow_selected_samples(checkpoint, tasks):
    model = DiffusionLM(pretrained=str(checkpoint), strategy="confidence:threshold=0.05", block_length=4)
    manager = TaskManager(include_path=str(tasks))
    whole, part = (
        add_costs(simple_evaluate(model, tasks=["toy"], samples=chosen, task_manager=manager))
        for chosen in (None, {"toy": [1, 3]})
    )
    nfe = {sample["doc_id"]: sample["nfe"] for sample in whole["samples"]["toy"]}
    assert {sample["doc_id"]: sample["nfe"] for sample in part["samples"]["toy"]} == {1: nfe[1], 3: nfe[3]}


def test_answers_are_cut_at_the_stop_strings(evaluate):
    results = evaluate("toy", strategy="fixed")
    assert not any(" the" in answer or "\n" in answer for answer in answers(results, "toy"))


def test_two_tasks_of_different_lengths_at_once(evaluate):
    results = evaluate("toy", "toy-shots", strategy="fixed", batch_size=4)["results"]
    assert (results["toy"]["nfe,none"], results["toy-shots"]["nfe,none"]) == (12, 8)


def test_gen_length_overrides_the_task(evaluate):
    results = evaluate("toy", strategy="fixed", gen_length=20)["results"]
    assert results["toy"]["nfe,none"] == 20


def test_chat_template_and_shots_reach_the_model(evaluate, checkpoint):
    results = evaluate("toy-shots", strategy="few-step", chat=True)
    prompt = results["samples"]["toy-shots"][0]["arguments"][0][0]
    assert prompt.startswith("<|startoftext|><|start_header_id|>user<|end_header_id|>\n\n")
    assert prompt.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")
    assert prompt.count("?") == 3


def test_samples_draw_from_their_own_seeds(evaluate):
    options = {"strategy": "confidence:threshold=0.05", "temperature": 1.0}
    one, other, again = (
        answers(evaluate("toy", seed=seed, batch_size=size, **options), "toy")
        for seed, size in ((1, 1), (2, 1), (1, 5))
    )
    assert one == again != other


def test_a_response_cache_answers_without_decoding(evaluate, tmp_path):
    first = evaluate("toy", strategy="fixed", cache=str(tmp_path / "cache"))
    second = evaluate("toy", strategy="fixed", cache=str(tmp_path / "cache"))
    assert answers(first, "toy") == answers(second, "toy")
    assert "nfe,none" not in second["results"]["toy"]


def test_out_of_memory_halves_the_batch(evaluate, monkeypatch):
    from harness import lm

    decode, sizes = lm.decode, []

    def scarce(*args, batch_size, **options):
        sizes.append(batch_size)
        if batch_size > 1:
            raise RuntimeError("CUDA out of memory")
        return decode(*args, batch_size=batch_size, **options)

    monkeypatch.setattr(lm, "decode", scarce)
    results = evaluate("toy", strategy="fixed", batch_size=4)
    assert sizes == [4, 2, 1]
    assert all(sample["nfe"] == 12 for sample in results["samples"]["toy"])


# --- mistakes ----------------------------------------------------------------------------------------------


def test_log_likelihood_is_refused(evaluate):
    with pytest.raises(UserError, match=r"'toy-choice' scores by log-likelihood.*generate_until"):
        evaluate("toy-choice", strategy="fixed")


def test_a_prompt_that_does_not_fit_names_its_document(evaluate):
    with pytest.raises(UserError, match=r"task toy, document 0: .*context of 512"):
        evaluate("toy", strategy="fixed", gen_length=510)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("pretrained=/a/b", {"pretrained": "/a/b"}),
        (
            "pretrained=a,strategy=learn2pd:threshold=0.9,steps=64+eotp@x,batch_size=8",
            {"pretrained": "a", "strategy": "learn2pd:threshold=0.9,steps=64+eotp@x", "batch_size": "8"},
        ),
        (
            "strategy='fixed:steps=4,remasking=random',seed=3",
            {"strategy": "fixed:steps=4,remasking=random", "seed": "3"},
        ),
        ('{"strategy": "fixed", "gen_length": 8}', {"strategy": "fixed", "gen_length": 8}),
    ],
)
def test_model_args_leave_a_specs_commas_alone(text, expected):
    assert parse_model_args(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pretraind=a", ["'pretraind'", "pretrained"]),
        ("pretrained=a,gen_len=4", ["'gen_len'", "gen_length"]),
        ("pretrained", ["KEY=VALUE"]),
        ("gen_length=many", ["gen_length", "number"]),
        ("batch_size=0", ["batch_size", "at least 1"]),
        ("batch_size=auto", ["batch_size", "number"]),
        ("temperature=-1", ["temperature", "at least 0"]),
        ("{", ["JSON"]),
    ],
)
def test_bad_model_args_are_one_line(text, words):
    with pytest.raises(UserError) as caught:
        parse_model_args(text)
    assert all(word in str(caught.value) for word in words)


def test_a_bad_spec_is_said_before_the_model_loads():
    with pytest.raises(SpecError):
        DiffusionLM(pretrained="/absent", strategy="nonsense")


# --- the command -------------------------------------------------------------------------------------------


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
