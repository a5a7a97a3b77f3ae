"""lm-eval's model dllm: any generation task, any strategy, any batch, with what the samples cost."""

import json

import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from harness.errors import UserError
from harness.lm import DiffusionLM, add_costs
from harness.lm_args import parse_model_args
from strategies import SpecError

SPECS = (
    "fixed",
    "fixed:steps=6,remasking=margin+prefix-cache",
    "confidence:threshold=0.05+dual-cache",
    "entropy:threshold=5.0+eotp",
    "factor",
    "few-step",
    "oracle",
)


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
