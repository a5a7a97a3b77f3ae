"""The certainty-forcing loss against the recorded terms and gradients of the reference."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training.losses import certainty, certainty_forcing, divergence

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
CASES = json.loads((GOLDEN / "loss_case.json").read_text())["cases"] if GOLDEN.exists() else []

needs_golden = pytest.mark.skipif(not CASES, reason="the golden loss cases are not beside the repository")


@pytest.fixture(scope="module")
def tensors():
    return load_file(GOLDEN / "loss_case.safetensors")


def aligned(logits, family):
    """Dream predicts position i at i - 1; the model does this shift in the product, here the test does."""
    return torch.cat((logits[:, :1], logits[:, :-1]), 1) if family == "dream" else logits


@needs_golden
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_every_term_and_gradient_is_the_reference_s(case, tensors):
    name, part = case["name"], lambda key: tensors[f"{case['name']}.{key}"]
    raw = {side: part(f"logits{side}").requires_grad_() for side in ("", "_rev")}
    views = {}
    for side, logits in raw.items():
        where = part(f"masked_indices{side}").bool()
        labels = part("input_ids")[where].long()
        views[side] = certainty(aligned(logits, case["family"])[where], labels, case["temperature"])
        assert (views[side].masked, views[side].correct) == (
            case[f"n_masked{side}"],
            case[f"n_correct{side}"],
        )
        assert views[side].cross_entropy.item() == pytest.approx(case[f"ce_loss{side}"], abs=1e-4)
        assert views[side].entropy.item() == pytest.approx(case[f"entropy_loss{side}"], abs=1e-4)
    total = certainty_forcing(views[""], views["_rev"], case["entropy_weight"])
    assert total.item() == pytest.approx(case["total_loss"], abs=1e-4)
    total.backward()
    for side, logits in raw.items():
        assert logits.grad.norm().item() == pytest.approx(case[f"grad_logits{side}_norm"], abs=1e-4)
        if f"{name}.grad_logits{side}" in tensors:
            torch.testing.assert_close(logits.grad, part(f"grad_logits{side}"), atol=1e-4, rtol=0)


def test_entropy_is_forced_only_where_the_argmax_is_right():
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]], requires_grad=True)
    view = certainty(logits, torch.tensor([0, 1]))
    view.entropy.backward()
    assert view.correct == 1
    assert logits.grad[0].abs().sum() > 0
    assert logits.grad[1].abs().sum() == 0


def test_a_view_without_masked_positions_costs_nothing_and_still_has_a_gradient():
    logits = torch.zeros(0, 5, requires_grad=True)
    view = certainty(logits, torch.zeros(0, dtype=torch.long))
    total = certainty_forcing(view, view, 2.0) + divergence(logits, logits.detach())
    total.backward()
    assert total.item() == 0


def test_divergence_is_zero_at_the_target_and_positive_elsewhere():
    target = torch.randn(4, 7)
    assert divergence(target, target).item() == pytest.approx(0, abs=1e-6)
    assert divergence(target + torch.randn(4, 7), target) > 0
