"""Samples survive the way to disk and back, whatever is in them and wherever a run was killed."""

import json

import pytest

from results.errors import ResultsError
from results.records import SampleRecord, mend_tail, read_samples, write_samples
from tests.results.conftest import sample

HOSTILE = 'x</script>\ud800\u202e\x00\n"é😀'


def test_a_record_survives_with_any_text():
    record = sample(text=HOSTILE, question=HOSTILE, metrics={"pass@1": True}, confidence=[None] * 8)
    line = record.to_json()
    assert "\n" not in line
    assert line.isascii()
    assert SampleRecord.from_json(line) == record


def test_unknown_keys_are_passed_over():
    document = json.loads(sample().to_json()) | {"later": 1}
    assert SampleRecord.from_json(json.dumps(document)) == sample()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"nfe": -1}, "nfe"),
        ({"nfe": True}, "nfe"),
        ({"latency_s": "fast"}, "latency_s"),
        ({"doc_id": "1"}, "doc_id"),
        ({"status": "odd"}, "status"),
        ({"commit_step": [1]}, "commit_step"),
        ({"output_ids": "ids"}, "output_ids"),
        ({"output_ids": ["a"] * 8}, "output_ids"),
        ({"commit_step": [1.5] * 8}, "commit_step"),
        ({"confidence": ["sure"] * 8}, "confidence"),
        ({"latency_s": float("nan")}, "latency_s"),
        ({"flops": float("inf")}, "flops"),
        ({"correct": "yes"}, "correct"),
        ({"text": None}, "text"),
        ({"extracted": 7}, "extracted"),
        ({"metrics": []}, "metrics"),
        ({"schema_version": 2}, "schema_version"),
    ],
)
def test_a_wrong_value_is_named(change, named):
    document = json.loads(sample().to_json()) | change
    with pytest.raises(ResultsError, match=named):
        SampleRecord.from_json(json.dumps(document))


def test_what_a_line_lacks_is_named():
    with pytest.raises(ResultsError, match="task, doc_id"):
        SampleRecord.from_json('{"strategy": "fixed"}')


@pytest.mark.parametrize("kept", [1, 40, -1, -2])
def test_a_last_line_cut_anywhere_is_passed_over_and_mended(tmp_path, kept):
    path = tmp_path / "samples.jsonl"
    whole = sample().to_json() + "\n"
    path.write_text(whole + sample(doc_id=1).to_json()[:kept])
    assert [record.doc_id for record in read_samples(path)] == [0]
    assert mend_tail(path) > 0
    assert path.read_text() == whole


def test_a_whole_last_line_without_its_newline_counts(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text(sample().to_json())
    assert len(read_samples(path)) == 1
    assert mend_tail(path) == 0
    assert path.read_text().endswith("}\n")
    assert mend_tail(path) == 0


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text(sample().to_json() + "\n{broken\n" + sample(doc_id=2).to_json() + "\n")
    with pytest.raises(ResultsError, match="line 2"):
        read_samples(path)


def test_a_last_line_that_is_whole_but_wrong_is_an_error(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text(sample().to_json() + "\n" + '{"strategy": "fixed"}\n')
    with pytest.raises(ResultsError, match="line 2"):
        read_samples(path)


def test_bytes_that_are_not_utf8_in_the_middle_are_an_error(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b"\xff\xfe\n" + sample().to_json().encode() + b"\n")
    with pytest.raises(ResultsError, match="line 1"):
        read_samples(path)


def test_a_sample_written_again_counts_as_its_last_line_says(tmp_path):
    path = tmp_path / "samples.jsonl"
    write_samples(
        path, [sample(status="failed", error="out of memory", correct=None), sample(doc_id=1), sample()]
    )
    found = read_samples(path)
    assert [(record.doc_id, record.status) for record in found] == [(1, "ok"), (0, "ok")]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ResultsError, match=r"samples\.jsonl does not exist"):
        read_samples(tmp_path / "samples.jsonl")
