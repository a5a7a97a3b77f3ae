"""Time of the rules on logits of LLaDA's vocabulary, [rows, columns, 126464]."""

import numpy as np
import pytest
import torch

from strategies import Predictions, Proposal, Vocabulary, parse

VOCABULARY = 126_464
RULES = ("fixed", "fixed:remasking=margin", "confidence", "factor", "entropy")


@pytest.fixture(scope="module")
def shape(request):
    """(16, 32, 126464) when timed, a corner of it when the cases only have to run."""
    timed = not request.config.getoption("benchmark_disable") or request.config.getoption("benchmark_only")
    return (16, 32, VOCABULARY) if timed else (2, 4, VOCABULARY // 64)


@pytest.fixture(scope="module")
def logits(shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape[0] * shape[1], shape[2], generator=generator)


@pytest.mark.parametrize("spec", RULES)
def test_a_rule_chooses(benchmark, logits, shape, spec):
    rows, columns, _ = shape
    rule = parse(spec).unmask
    everywhere = np.ones((rows, columns), bool)
    facts = np.array([[0, columns, 0, columns]]).repeat(rows, 0)

    def choose():
        proposal = Proposal(
            Predictions(logits, Vocabulary(0, (1,))),
            np.arange(rows * columns),
            eligible=everywhere,
            masked=everywhere,
            rows=facts,
            gen_length=columns,
            rule=rule,
        )
        return rule.transfer_index(proposal), proposal.tokens

    with torch.inference_mode():
        transfer, tokens = benchmark.pedantic(choose, rounds=3, warmup_rounds=1)
    assert transfer.any(1).all()
    assert (tokens > 0).all()
