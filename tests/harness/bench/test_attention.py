"""Attention of ragged rows: in the styles of a GPU the same as row by row."""

import numpy as np
import pytest
import torch

from harness.models.packing import Layout, Segment

CPU = torch.device("cpu")
RAGGED = {
    "unequal keys": [(0, 4, 8, 9), (1, 4, 8, 12)],
    "unequal widths": [(0, 0, 9, 9), (1, 4, 8, 12), (2, 6, 10, 10)],
    "a free slot between": [(0, 4, 8, 9), (2, 4, 8, 12)],
    "one row": [(1, 2, 5, 7)],
}


@pytest.mark.parametrize("rows", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("stored", [True, False], ids=["cache", "no cache"])
@pytest.mark.parametrize("family", ["llada", "dream"])
def test_no_style_changes_anything(tiny_denoiser, family, rows, stored, style):
    model = tiny_denoiser(family)
    canvas = np.arange(60).reshape(3, 20) % 20
    if not stored:
        rows = [(slot, 0, keys, keys) for slot, _, _, keys in rows]
    segments = [Segment(*row) for row in rows]
    widths = np.array([segment.width for segment in segments])
    first = widths.cumsum() - widths
    read = np.concatenate([np.arange(at, at + 1 + i) for i, at in enumerate(first)])  # 1, 2, 3 of each row
    found = []
    for way in ("rows", style):
        store = None
        if stored:
            store = model.new_kv(3, 20)
            for part in (*store.keys, *store.values):
                part.copy_(torch.randn(part.shape, generator=torch.Generator().manual_seed(1)))
        packed, _ = Layout(segments, 20 if stored else None, CPU, way, slots=3).pack(canvas, read)
        with torch.inference_mode():
            found.append(model.forward_packed(packed, store))
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)
