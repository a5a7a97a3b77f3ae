"""Products with one input in one: their weights side by side in memory, each a parameter of its own still.

A few columns are multiplied as fast as the weights can be read, and one long read is faster than three.
Whether weights lie side by side is seen from the parameters themselves, so that weights that were
replaced, moved or copied since are multiplied one by one, not wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def join(parts: Sequence[nn.Module]) -> None:
    """Lay the weights of linear layers side by side, and their biases; frozen ones only."""
    if any(p.requires_grad for part in parts for p in part.parameters()) or not _plain(parts):
        return
    # In the mode that the parameters were made in: they may be trained later, or never.
    with torch.inference_mode(next(parts[0].parameters()).is_inference()):
        for name in ("weight", "bias"):
            tensors = [getattr(part, name) for part in parts]
            if tensors[0] is not None and adjacent(tensors) is None:
                joined = torch.cat([tensor.data for tensor in tensors])
                for tensor, own in zip(tensors, joined.split([len(t) for t in tensors]), strict=True):
                    tensor.data = own


def at_once(parts: Sequence[nn.Module], x: Tensor) -> Tensor | None:
    """[..., sum of widths], the linear layers' outputs for x [..., d]; None unless they have been joined."""
    if not _plain(parts):
        return None
    weight = adjacent([part.weight for part in parts])  # type: ignore[misc]
    if weight is None or parts[0].bias is None:
        return None if weight is None else F.linear(x, weight)
    bias = adjacent([part.bias for part in parts])  # type: ignore[misc]
    return None if bias is None else F.linear(x, weight, bias)


def adjacent(tensors: Sequence[Tensor]) -> Tensor | None:
    """The tensors as one, joined along their first dimension, where they lie so in one buffer."""
    first = tensors[0]
    place, rows = first.data_ptr(), 0
    for tensor in tensors:
        if tensor.data_ptr() != place or tensor.dtype != first.dtype or not tensor.is_contiguous():
            return None
        place += tensor.nbytes
        rows += len(tensor)
    try:
        return first.data.as_strided((rows, *first.shape[1:]), first.stride())
    except RuntimeError:  # buffers that happen to touch
        return None


def _plain(parts: Sequence[nn.Module]) -> bool:
    """Nothing is at work beside the weights, an adapter in training or a hook for example."""
    return all(
        type(part) is nn.Linear and not part._forward_hooks and not part._forward_pre_hooks for part in parts
    )
