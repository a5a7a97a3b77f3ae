"""The filter: what it learns, what its file says, and what its card reports."""

import json
import math

import pytest
import torch

from harness.models.loading import save_model
from harness.models.transformer import build
from strategies.errors import SpecError
from strategies.filter import load_filter
from training.__main__ import main
from training.filter import auroc, fit, loss_of, quality
from training.filter_data import Pairs


def pairs(count, seed, width=6):
    """Predictions are right where the confidence is above a half and the left neighbour's is too."""
    generator = torch.Generator().manual_seed(seed)
    confidence = torch.rand(count, width, generator=generator)
    sure = confidence > 0.5
    correct = sure & torch.cat((sure[:, :1], sure[:, :-1]), 1)
    masked = torch.rand(count, width, generator=generator) < 0.8
    return Pairs(confidence, correct, masked, torch.arange(count))


def test_it_learns_what_confidence_alone_does_not_say():
    train, held_out = pairs(2000, 0), pairs(500, 1)
    found = fit(train, held_out, block_length=6, hidden=32, epochs=400, patience=50, seed=0)
    label = held_out.correct[held_out.masked]
    score = found.network(held_out.confidence).sigmoid()[held_out.masked].detach()
    assert auroc(score, label) > 0.97 > auroc(held_out.confidence[held_out.masked], label) + 0.05
    assert quality(score, label)["precision at 0.96"] > 0.95


def test_training_stops_early_and_keeps_the_best_epoch():
    train, held_out = pairs(8, 0), pairs(200, 1)  # so few that it soon learns them by heart
    found = fit(train, held_out, block_length=6, hidden=32, epochs=5000, patience=40, seed=0)
    assert found.epochs == found.epoch + 40
    again = fit(train, held_out, block_length=6, hidden=32, epochs=found.epoch, patience=40, seed=0)
    assert again.held_out_loss == found.held_out_loss


def test_wrong_predictions_weigh_what_they_are_told():
    given = pairs(200, 0)
    right = given.correct[given.masked].float().mean().item()
    for weight in (1.0, 4.0):
        loss = loss_of(torch.zeros_like, given, weight)  # every logit says a half
        assert loss.item() == pytest.approx(math.log(2) * (right + weight * (1 - right)), rel=1e-5)


def test_auroc_counts_ties_half():
    score, label = torch.tensor([0.1, 0.5, 0.5, 0.9]), torch.tensor([False, False, True, True])
    assert auroc(score, label) == pytest.approx(3.5 / 4)
    assert math.isnan(auroc(score, torch.ones(4, dtype=torch.bool)))


def test_the_command_writes_a_filter_of_its_block_length(tmp_path, tiny_config, config):
    torch.manual_seed(0)
    save_model(build(config), tiny_config, tmp_path / "model")
    rows = [{"prompt_ids": [1, at], "response_ids": [at, at + 1] * 5} for at in range(8)]
    (tmp_path / "trajectories.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    options = ["--block-length", "4", "--epochs", "20", "--device", "cpu"]
    paths = ["--model", str(tmp_path / "model"), "--data", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(["filter", *paths, *options]) == 0
    network = load_filter(str(tmp_path / "out" / "filter.safetensors"))
    assert network.block_length == 4
    with pytest.raises(SpecError, match="trained for block length 4, not 8"):
        network.check_block(8, "filter.safetensors")
    card = (tmp_path / "out" / "filter.md").read_text()
    assert "precision at 0.9 |" in card
    assert (tmp_path / "out" / "filter.png").stat().st_size > 0
    assert main(["filter", *paths, *options, "--limit", "1"]) == 2
    assert main(["filter", *paths, *options, "--held-out", "1.5"]) == 2
    assert main(["filter", *paths, "--block-length", "0"]) == 2  # once a decode without an end


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_torch_cannot_take_is_refused(tmp_path, capsys, seed):
    assert main(["filter", "--data", str(tmp_path), "--output", str(tmp_path), "--seed", str(seed)]) == 2
    assert "must lie between 0 and 2**63 - 1" in capsys.readouterr().err
