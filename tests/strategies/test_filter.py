"""The Learn2PD filter: recorded input-output pairs, narrower blocks, and files that are not one."""

import json

import pytest
import torch
from safetensors.torch import save_file

from strategies import SpecError
from strategies.filter import FilterNet, load_filter, save_filter


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_recorded_outputs(golden, family):
    folder = golden / "filters"
    network = load_filter(str(folder / f"{family}_filter.safetensors"))
    cases = json.loads((folder / "filter_cases.json").read_text())[family]
    widths = {len(case["input"]) for case in cases}
    assert len(widths) > 1, "narrower blocks are among the cases"
    for case in cases:
        logits = network(torch.tensor([case["input"]]))[0]
        torch.testing.assert_close(logits, torch.tensor(case["logits"]), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(logits.sigmoid(), torch.tensor(case["sigmoid"]), atol=1e-5, rtol=1e-5)


def test_a_filter_file_round_trips(tmp_path):
    network = FilterNet(6, hidden=10, block_length=6)
    save_filter(network, tmp_path / "f.safetensors")
    found = load_filter(str(tmp_path / "f.safetensors"))
    assert (found.width, found.block_length) == (6, 6)
    confidences = torch.rand(3, 6)
    assert torch.equal(found(confidences), network(confidences))
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_a_narrower_block_is_padded_with_zeros_on_the_right():
    network = FilterNet(6)
    narrow = torch.rand(2, 4)
    wide = torch.cat((narrow, torch.zeros(2, 2)), 1)
    assert torch.equal(network(narrow), network(wide)[:, :4])


def test_a_filter_refuses_blocks_it_was_not_made_for():
    trained = FilterNet(32, block_length=32)
    trained.check_block(32, "f")
    with pytest.raises(SpecError, match="f was trained for block length 32, not 16"):
        trained.check_block(16, "f")
    released = FilterNet(32)  # its file does not say
    released.check_block(16, "f")
    with pytest.raises(SpecError, match="up to 32 positions, not 64"):
        released.check_block(64, "f")


def test_files_that_are_no_filter(tmp_path):
    def error(path):
        with pytest.raises(SpecError) as caught:
            load_filter(str(path))
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
        return str(caught.value)

    assert "does not exist" in error(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    assert "is not a Learn2PD filter" in error(tmp_path / "text.safetensors")
    save_file({"linear1.weight": torch.zeros(4, 4)}, tmp_path / "half.safetensors")
    assert "is not a Learn2PD filter" in error(tmp_path / "half.safetensors")
    state = FilterNet(4).state_dict() | {"linear2.weight": torch.zeros(5, 5)}
    save_file(state, tmp_path / "shape.safetensors")
    assert "is not a Learn2PD filter" in error(tmp_path / "shape.safetensors")
    save_file({"linear1.weight": torch.zeros(4)}, tmp_path / "flat.safetensors")
    assert "is not a Learn2PD filter" in error(tmp_path / "flat.safetensors")
    assert error(tmp_path)
