"""A run keeps every finished sample: through kills, signals, exhausted memory and failing graders."""

import json
import os
import signal

import pytest
import torch
import yaml

from harness import runner_decode
from harness.errors import UserError
from harness.runner_store import RunStore
from results.records import read_samples
from strategies import PartError
from tests.harness.runner.kit import QUESTIONS, FakeTask, facts, write_adapter


class Killed(BaseException):
    """Stands in for SIGKILL: nothing in the runner may catch it."""


def fail_decoding(monkeypatch, when, error):
    """Make `decode` raise `error` whenever `when(prompts, batch_size)`."""
    real = runner_decode.decode

    def decode(model, prompts, strategy, **options):
        if "on_finish" in options and when(prompts, options["batch_size"]):
            raise error
        return real(model, prompts, strategy, **options)

    monkeypatch.setattr(runner_decode, "decode", decode)


def test_a_run_leaves_one_scored_line_a_sample(go, tmp_path):
    outcome = go()
    lines = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 2 * len(QUESTIONS) == len(outcome.records)
    record = json.loads(lines[0])
    assert record["strategy"] == "fixed"
    assert record["task"] == "t1"
    assert record["correct"] in (True, False)
    assert record["metrics"]["even"] == float(record["correct"])
    assert record["nfe"] == record["tokens_raw"] == len(record["output_ids"]) == 16
    assert record["query_tokens"] == 16 * (16 + record["prompt_tokens"])
    assert record["latency_s"] > 0
    assert record["flops"] > 0
    assert record["batch_size"] == 3
    assert record["gold"] == "42"
    vocab = json.loads((tmp_path / "run" / "vocab.json").read_text())
    assert {str(token) for token in record["output_ids"] + record["prompt_ids"]} <= vocab.keys()
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["strategies"] == ["fixed", "confidence:threshold=0.3"]
    assert config["gen_length"] == {"t1": 16, "t2": 16}
    assert config["protocol"] == {"name": "fake", "hash": "hash-of-fake"}
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__


def test_the_batch_changes_no_answer(go, tmp_path):
    assert facts(go()) == facts(go(output=tmp_path / "other", batch_size=1))


def test_a_finished_run_is_not_decoded_again(go, monkeypatch):
    first = go()
    monkeypatch.setattr("harness.runner.load_model", lambda *a, **k: pytest.fail("loaded the weights again"))
    assert facts(go()) == facts(first)


def test_killed_at_any_moment_a_run_ends_like_an_undisturbed_one(go, monkeypatch, tmp_path):
    whole = facts(go(output=tmp_path / "whole"))
    real = RunStore.append
    count = 0

    def append(self, record):
        nonlocal count
        count += 1
        if count == deadline:
            self._samples.write(record.to_json()[:57])  # the line it was writing
            self._samples.flush()
            raise Killed
        real(self, record)

    monkeypatch.setattr(RunStore, "append", append)
    for deadline in (1, 4, 17, 26, 40):
        count, out = 0, tmp_path / f"run{deadline}"
        with pytest.raises(Killed):
            go(output=out)
        kept = read_samples(out / "samples.jsonl")
        decoded = len([r for r in kept if r.output_ids])
        count = -1000
        assert facts(go(output=out)) == whole
        appended = count + 1000
        assert appended <= 40 - decoded  # what was decoded is scored at most, not decoded again


def test_a_signal_saves_and_says_how_to_go_on(go, monkeypatch, tmp_path):
    whole = facts(go(output=tmp_path / "whole"))
    real = RunStore.append

    def append(self, record):
        real(self, record)
        if len(self.records) == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunStore, "append", append)
    before = signal.getsignal(signal.SIGTERM)
    outcome = go()
    assert outcome.stopped == "SIGTERM"
    assert 4 <= len(outcome.records) < len(whole)
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setattr(RunStore, "append", real)
    assert facts(go()) == whole


def test_memory_that_runs_out_halves_the_batch(go, monkeypatch, tmp_path):
    whole = facts(go(output=tmp_path / "whole"))
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
    fail_decoding(monkeypatch, lambda prompts, batch: batch > 1, error)
    outcome = go()
    assert facts(outcome) == whole
    assert {record.batch_size for record in outcome.records} == {1}
    assert outcome.failed == 0


def test_a_part_that_cannot_be_decoded_with_fails_its_samples_and_no_other_strategy(go, monkeypatch):
    """A cache that leaves out what is read fails the warm-up too; each sample is tried once alone."""
    calls = []
    real = runner_decode.decode

    def decode(model, prompts, strategy, **options):
        if strategy.spec == "fixed+dual-cache":
            calls.append(len(prompts))
            raise PartError("Mine.span() answers (3, 9), but positions from 2 to 6 are read")
        return real(model, prompts, strategy, **options)

    monkeypatch.setattr(runner_decode, "decode", decode)
    outcome = go("fixed+dual-cache,fixed", tasks=("t1",))
    failed = [record.strategy for record in outcome.records if record.status == "failed"]
    assert failed == ["fixed+dual-cache"] * len(QUESTIONS)
    assert len(outcome.records) == 2 * len(QUESTIONS)
    assert all("Mine.span()" in record.error for record in outcome.records if record.status == "failed")
    assert len(calls) == 1 + 1 + len(QUESTIONS), "the warm-up, the batch, each sample"


def test_a_sample_that_never_fits_becomes_a_row_with_its_error(go, monkeypatch):
    real, seen = runner_decode.decode, []

    def decode(model, prompts, strategy, **options):
        if "on_finish" not in options:  # the warm-up
            return real(model, prompts, strategy, **options)
        seen.extend(map(len, prompts))
        longest = [place for place, prompt in enumerate(prompts) if len(prompt) == max(seen)]
        if not longest:
            return real(model, prompts, strategy, **options)
        if options["batch_size"] == 1:  # decodes in order until it reaches the one that does not fit
            options["seeds"] = options["seeds"][: longest[0]]
            real(model, prompts[: longest[0]], strategy, **options)
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(runner_decode, "decode", decode)
    outcome = go("fixed", tasks=("t1",))
    failed = [record for record in outcome.records if record.status == "failed"]
    assert [record.prompt_tokens for record in failed] == [max(seen)]
    assert "can't allocate memory" in failed[0].error
    assert failed[0].correct is None
    assert not failed[0].text
    assert not failed[0].output_ids
    monkeypatch.setattr(runner_decode, "decode", real)
    assert go("fixed", tasks=("t1",)).failed == 0


def test_a_failing_grader_fails_its_sample_alone(go, monkeypatch):
    real = FakeTask.score_many

    def score_many(self, items):
        for item in items:
            if item[0] == 1:
                raise ValueError("grader broke")
            yield from real(self, [item])

    monkeypatch.setattr(FakeTask, "score_many", score_many)
    outcome = go("fixed", tasks=("t1",))
    assert [record.status for record in outcome.records] == ["ok", "failed", "ok", "ok", "ok"]
    assert outcome.records[1].error == "scoring failed: ValueError: grader broke"
    assert outcome.records[1].correct is None
    monkeypatch.setattr(FakeTask, "score_many", real)
    assert go("fixed", tasks=("t1",)).failed == 0  # running again tries what failed


def test_strategies_that_answer_alike_are_judged_once(go, monkeypatch):
    asked, real = [], FakeTask.score_many

    def score_many(self, items):
        asked.extend((self.name, *item) for item in items)
        return real(self, items)

    monkeypatch.setattr(FakeTask, "score_many", score_many)
    outcome = go("fixed,oracle,confidence:threshold=0.3")
    assert len(asked) == len(set(asked)) < len(outcome.records)
    assert {(r.task, r.doc_id, r.text) for r in outcome.records} == set(asked)


def test_the_oracle_imitates_fixed_whether_or_not_the_run_has_it(go, tmp_path):
    both = go("oracle,fixed", tasks=("t1",))
    answers = {
        spec: [record.output_ids for record in both.records if record.strategy == spec]
        for spec in ("oracle", "fixed")
    }
    assert answers["oracle"] == answers["fixed"]
    alone = go("oracle", tasks=("t1",), output=tmp_path / "alone")
    assert {record.strategy for record in alone.records} == {"oracle"}
    assert [record.output_ids for record in alone.records] == answers["oracle"]
    assert sum(r.nfe for r in alone.records) <= sum(r.nfe for r in both.records if r.strategy == "fixed")


def test_an_adapter_decodes_with_its_own_weights_loaded_once(go, checkpoint, monkeypatch):
    write_adapter(checkpoint, "dparallel")
    from harness import runner

    loads, real = [], runner.load_model

    def load(*args, **options):
        loads.append(options["adapter"])
        return real(*args, **options)

    monkeypatch.setattr(runner, "load_model", load)
    outcome = go("fixed,fixed@dparallel,confidence,oracle@dparallel")
    assert loads == [None, "dparallel"]
    by = {record.key: record.output_ids for record in outcome.records}
    assert any(by["fixed", "t1", i] != by["fixed@dparallel", "t1", i] for i in range(len(QUESTIONS)))
    assert all(by["oracle@dparallel", "t1", i] == by["fixed@dparallel", "t1", i] for i in range(5))


def test_all_leaves_out_what_the_model_cannot_run_and_says_so(go, tmp_path, capsys):
    outcome = go("all", tasks=("t1",))
    ran = {record.strategy for record in outcome.records}
    assert {"fixed", "oracle", "confidence+dual-cache"} <= ran
    assert not any("@" in spec or "learn2pd" in spec or "dparallel" in spec for spec in ran)
    said = capsys.readouterr().err
    assert "leaving out dparallel: the model has no adapter dparallel" in said
    assert "leaving out learn2pd: the model has no filter.safetensors" in said
    dropped = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["dropped"]
    assert set(dropped) >= {"dparallel", "consistency", "learn2pd"}


def test_a_trace_of_every_forward_is_written_when_asked(go, tmp_path):
    outcome = go("fixed", tasks=("t1",), trace=True)
    lines = [json.loads(line) for line in (tmp_path / "run" / "traces.jsonl").read_text().splitlines()]
    assert len(lines) == len(QUESTIONS)
    for line, record in zip(sorted(lines, key=lambda line: line["doc_id"]), outcome.records, strict=True):
        assert len(line["trace"]) == record.nfe
        replayed = {position: token for forward in line["trace"] for position, token in forward}
        assert [replayed[place] for place in range(16)] == record.output_ids


def test_samples_of_an_earlier_run_without_traces_are_counted(go, capsys):
    go("fixed", tasks=("t1",))
    capsys.readouterr()
    go("fixed,few-step", tasks=("t1",), trace=True)
    assert f"{len(QUESTIONS)} samples were decoded without --trace" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["hello", "hello\n", '{"strategy": "fixed"'])
def test_a_file_that_no_run_is_known_to_have_written_is_left_alone(go, tmp_path, content):
    (tmp_path / "run").mkdir()
    samples = tmp_path / "run" / "samples.jsonl"
    samples.write_text(content)
    with pytest.raises(UserError, match=r"holds samples but no config\.yaml"):
        go("fixed", tasks=("t1",))
    assert samples.read_text() == content


SETTINGS = {
    "gen_length": ({"gen_length": 8}, "gen_length of t1 16, not 8"),
    "seed": ({"seed": 1}, "seed 0, not 1"),
    "temperature": ({"temperature": 0.5}, "temperature 0.0, not 0.5"),
    "dtype": ({"dtype": "float32"}, "dtype 'float64', not 'float32'"),
    "limit": ({"limit": 2}, "a run's limit can only be raised"),
    "protocol": ({"protocol": "other"}, "protocol_hashes of t1"),
}


@pytest.mark.parametrize("change", SETTINGS)
def test_other_settings_in_the_same_directory_are_refused(go, change):
    go("fixed", limit=3)
    options, message = SETTINGS[change]
    with pytest.raises(UserError, match=message):
        go("fixed", **({"limit": 3} | options))


def test_other_weights_in_the_same_directory_are_refused(go, checkpoint):
    go("fixed", tasks=("t1",))
    path = checkpoint / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model_files of model\.safetensors"):
        go("fixed", tasks=("t1",))


def test_other_problems_in_the_same_directory_are_refused(go, monkeypatch):
    go("fixed", tasks=("t1",))
    monkeypatch.setattr("tests.harness.runner.kit.QUESTIONS", ("another problem", *QUESTIONS[1:]))
    with pytest.raises(UserError, match="another t1 problem 0"):
        go("fixed", tasks=("t1",))


def test_strategies_tasks_and_limit_may_grow(go, tmp_path):
    go("fixed", tasks=("t1",), limit=2)
    outcome = go("confidence", tasks=("t1", "t2"), limit=3)
    assert len(outcome.records) == 2 + 3 + 3
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["strategies"], config["tasks"], config["limit"]) == (
        ["fixed", "confidence"],
        ["t1", "t2"],
        3,
    )


def test_two_runs_do_not_write_to_one_directory(go, tmp_path):
    store = RunStore(tmp_path / "run")
    with pytest.raises(UserError, match="another run is writing"):
        go("fixed")
    store.close()
    assert go("fixed", tasks=("t1",)).failed == 0


def test_sampling_depends_on_the_seed_and_the_problem_alone(go, tmp_path):
    options = {"tasks": ("t1",), "temperature": 1.0}
    first = facts(go("confidence", **options))
    assert facts(go("confidence", output=tmp_path / "b", batch_size=1, **options)) == first
    assert facts(go("confidence", output=tmp_path / "c", seed=7, **options)) != first
