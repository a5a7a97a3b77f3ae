"""The fused kernels against the plain operations they stand for: on a GPU, else interpreted."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("triton", reason="Triton comes with torch for CUDA only")
ON_GPU = torch.cuda.is_available()

from harness.models import fused  # noqa: E402
from harness.models.elementwise import rotate  # noqa: E402
from strategies import fused as selection  # noqa: E402
from strategies.predictions import scan  # noqa: E402

# The interpreter cuts bfloat16 off where it should round.
HALVES = [torch.float16, *([torch.bfloat16] if ON_GPU else [])]
STEP = {torch.float16: 2**-10, torch.bfloat16: 2**-7}  # between neighbours, relative


@pytest.fixture(params=HALVES, ids=str)
def drawn(request):
    """`drawn(*shape)`: normal numbers of a half precision, where the kernels run."""
    generator = torch.Generator().manual_seed(0)
    device = "cuda" if ON_GPU else "cpu"

    def draw(*shape):
        return torch.randn(shape, generator=generator).to(device, request.param)

    return draw


def assert_alike(found, expected):
    """At most one step apart, and seldom even that."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1.1 * STEP[found.dtype], atol=1e-6)
    assert (found != expected).float().mean() < 0.02


@pytest.mark.parametrize("shape", [(5, 96), (2, 3, 4096), (1, 3584)])
def test_the_norm(drawn, shape):
    x, weight = 3 * drawn(*shape), 1 + 0.3 * drawn(shape[-1])
    expected = F.rms_norm(x.float(), weight.shape, None, 1e-5).to(x.dtype) * weight
    assert_alike(fused.norm(x, weight, 1e-5), expected)


@pytest.mark.parametrize("shape", [(9, 3, 16), (2, 9, 32, 128), (9, 28, 128), (9, 1, 8)])
def test_the_rotation(drawn, shape):
    x, angles = drawn(*shape), drawn(9, 1, shape[-1] // 2).float()
    cos, sin = angles.cos(), angles.sin()
    tables = torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)
    assert_alike(fused.rotate(x, *tables), rotate(x, *tables))


def test_a_rotation_of_what_is_not_contiguous(drawn):
    x, angles = drawn(3, 9, 16).transpose(0, 1), drawn(9, 1, 16).float()
    expected = fused.rotate(x.contiguous(), angles, angles)
    assert torch.equal(fused.rotate(x, angles, angles), expected)
    wider = torch.cat((x, x), 1)
    assert torch.equal(fused.rotate(wider[:, :3], angles, angles), expected)


@pytest.mark.parametrize("shape", [(3, 2500), (1, 7)])
def test_the_gate(drawn, shape):
    gate, up = drawn(*shape), drawn(*shape)
    expected = F.silu(gate) * up
    assert_alike(fused.gated(gate, up), expected)
    assert_alike(fused.gated(*torch.cat((gate, up), -1).chunk(2, -1)), expected)
    assert_alike(fused.gated(gate.clone(), up.T.contiguous().T), expected)


@pytest.mark.parametrize("width", [9001, 4096, 20])
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_the_scan(dtype, width):
    logits = (4 * torch.randn(6, width, generator=torch.Generator().manual_seed(0))).to(dtype)
    logits = logits.to("cuda" if ON_GPU else "cpu")
    tokens = logits.argmax(-1)
    tokens[2], logits[3, 5] = 5, torch.finfo(dtype).min / 4
    tokens[3] = 5  # muted
    for entropy in (False, True):
        found = selection.scan(logits, tokens, entropy)
        expected = scan(logits.clone(), tokens, entropy)
        assert len(found) == 2 + entropy
        for mine, plain in zip(found, expected, strict=False):
            torch.testing.assert_close(mine, plain, rtol=1e-6, atol=0)
    assert found[0, 3] == 0


def test_what_is_not_a_number_stays_so():
    logits = torch.zeros(2, 300, device="cuda" if ON_GPU else "cpu")
    logits[1, 7] = torch.nan
    tokens = torch.zeros(2, dtype=torch.int64, device=logits.device)
    assert selection.scan(logits, tokens, True).isnan().any(0).tolist() == [False, True]
