"""What the runner's tests share: a task that takes no time, a LoRA adapter, what two runs must agree on."""

import json
from types import SimpleNamespace

import torch
from safetensors.torch import save_file

from harness.tasks.base import Problem, Score

GEN, BLOCK = 16, 8
QUESTIONS = ("the answer is 42", "and the question", "is not known", "def add(a, b):", "return a + b")


class FakeTask:
    """Five short problems; a response is right where its length is even, so that accuracy is not constant."""

    runs_code = False
    gen_length, block_length = GEN, BLOCK

    def __init__(self, name, protocol=None, **options):
        self.name, self.protocol_hash = name, f"hash-of-{protocol or 'fake'}"
        self.protocol = SimpleNamespace(name=protocol or "fake", hash=self.protocol_hash)
        self.settings = SimpleNamespace(shots=0)

    def problems(self, limit=None, split="test"):
        return [
            Problem(place, f"{self.name} {text}", True, {}, ("\n\n",), "42", text)
            for place, text in enumerate(QUESTIONS[:limit])
        ]

    def score(self, doc_id, response):
        return next(iter(self.score_many([(doc_id, response)])))

    def score_many(self, items):
        for doc_id, response in items:
            yield Score(doc_id, response[:5], len(response) % 2 == 0, {"even": float(len(response) % 2 == 0)})


def facts(outcome):
    """What must not depend on how often a run was interrupted: everything but time and batch."""
    return [
        (r.key, r.status, r.correct, r.output_ids, r.nfe, r.query_tokens, r.tokens_eos, r.text, r.commit_step)
        for r in outcome.records
    ]


def write_adapter(model_dir, name, width=32):
    """A rank-1 LoRA adapter of the first layer's query projection in MODEL/adapters/NAME."""
    folder = model_dir / "adapters" / name
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    stem = "base_model.model.model.transformer.blocks.0.q_proj"
    generator = torch.Generator().manual_seed(1)
    factors = {
        f"{stem}.lora_A.weight": torch.randn(1, width, generator=generator),
        f"{stem}.lora_B.weight": torch.randn(width, 1, generator=generator),
    }
    save_file(factors, folder / "adapter_model.safetensors", {"format": "pt"})
