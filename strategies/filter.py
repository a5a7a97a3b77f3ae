"""Learn2PD's filter: a 2-layer network that reads a block's confidences and says which are final."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from strategies.errors import SpecError


class FilterNet(nn.Module):
    """Linear -> ReLU -> Linear over `width` confidences (arXiv 2509.25188, the released 2-layer form).

    width: positions of a block it reads. block_length: the block length it was trained for, None where
    its file does not say (the released files).
    """

    def __init__(self, width: int, hidden: int | None = None, block_length: int | None = None) -> None:
        super().__init__()
        self.width, self.block_length = width, block_length
        self.linear1 = nn.Linear(width, hidden or width)
        self.linear2 = nn.Linear(hidden or width, width)

    def forward(self, confidences: Tensor) -> Tensor:
        """Logits [B, n] of confidences [B, n], n <= width: a narrower block is padded with 0 on the right."""
        n = confidences.shape[-1]
        hidden = F.relu(self.linear1(F.pad(confidences, (0, self.width - n))))
        return self.linear2(hidden)[..., :n]

    def check_block(self, block_length: int, path: str) -> None:
        """Raise SpecError where the filter was not made for blocks of this length."""
        if self.block_length is not None and self.block_length != block_length:
            raise SpecError(
                f"{path} was trained for block length {self.block_length}, not {block_length};"
                f" decode with --block-length {self.block_length} or train a filter for {block_length}"
            )
        if block_length > self.width:
            raise SpecError(f"{path} reads blocks of up to {self.width} positions, not {block_length}")


def save_filter(network: FilterNet, path: Path) -> None:
    """Write the filter in the released form, its block length in the file's metadata."""
    metadata = {"format": "pt", "block_length": str(network.block_length or network.width)}
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path, metadata)


@lru_cache(maxsize=8)
def load_filter(path: str) -> FilterNet:
    """Read a filter file. Raises SpecError where it is missing or not a filter."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
        hidden, width = tensors["linear1.weight"].shape
        stated = metadata.get("block_length")
        network = FilterNet(width, hidden, int(stated) if stated else None)
        network.load_state_dict(tensors)
    except FileNotFoundError:
        raise SpecError(f"filter file {path} does not exist") from None
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise SpecError(
            f"{path} is not a Learn2PD filter (linear1, linear2 in safetensors): {reason}"
        ) from error
    return network.requires_grad_(False)
