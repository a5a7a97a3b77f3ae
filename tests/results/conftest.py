"""Small runs made by hand, with every figure known."""

import pytest

from results.records import SampleRecord, write_samples

VOCAB = {0: "the", 1: " answer", 2: " is", 3: " 42", 4: "\n", 5: " no", 9: "<|endoftext|>"}


def sample(strategy="fixed", task="demo-math", doc_id=0, **values):
    """A record of a decoded and scored sample of 8 tokens, 6 of them before the end of text."""
    defaults = {
        "correct": True,
        "extracted": "42",
        "nfe": 8,
        "refresh_nfe": 0,
        "query_tokens": 80,
        "tokens_raw": 8,
        "tokens_eos": 6,
        "tokens_scored": 5,
        "latency_s": 0.5,
        "flops": 1e9,
        "batch_size": 4,
        "prompt_tokens": 3,
        "protocol_hash": "abc",
        "question": "What is the answer?",
        "gold": "42",
        "text": "the answer is 42",
        "output_ids": [0, 1, 2, 3, 4, 0, 9, 9],
        "commit_step": [1, 2, 3, 4, 5, 6, 7, 8],
        "confidence": [0.9, 0.8, 0.95, 0.5, 0.99, 1.0, 1.0, 1.0],
    }
    return SampleRecord(strategy=strategy, task=task, doc_id=doc_id, **(defaults | values))


SPECS = {
    "fixed": (8, 0),
    "few-step": (2, 6),
    "confidence": (4, 1),
    "confidence:threshold=0.6": (3, 4),
    "confidence+dual-cache": (4, 2),
    "oracle": (2, 0),
}


def make_run(directory, specs=SPECS, tasks=("demo-gsm8k", "demo-math"), n=10, **values):
    """A run directory: each spec needs its forwards and has the first of its problems wrong."""
    directory.mkdir(parents=True, exist_ok=True)
    records = []
    for task in tasks:
        for spec, (forwards, wrong) in specs.items():
            steps = [1 + i * forwards // 8 for i in range(8)]
            refreshes = [1] if "cache" in spec else []
            for doc_id in range(n):
                facts = {"nfe": forwards, "correct": doc_id >= wrong, "commit_step": steps}
                facts |= {
                    "latency_s": forwards / 16,
                    "refresh_steps": refreshes,
                    "refresh_nfe": len(refreshes),
                }
                records.append(sample(spec, task, doc_id, **(facts | values)))
    write_samples(directory / "samples.jsonl", records)
    lengths = ", ".join(f"{task}: 8" for task in tasks)
    (directory / "config.yaml").write_text(
        f"model: demo\ngen_length: {{{lengths}}}\nblock_length: {{{lengths}}}\n"
        "protocol: {name: demo, hash: abc}\n"
    )
    (directory / "environment.json").write_text('{"device": "cpu", "commit": "abc1234"}')
    entries = ", ".join(f'"{key}": "{text}"' for key, text in VOCAB.items()).replace("\n", "\\n")
    (directory / "vocab.json").write_text("{" + entries + "}")
    return directory


@pytest.fixture
def run_dir(tmp_path):
    return make_run(tmp_path / "run")
