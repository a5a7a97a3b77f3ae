"""What all tests share: the place of the shared reference data, its checkpoints, and a real tiny model."""

import os
from functools import cache
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores; said before torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if not any(Path("/dev", name).exists() for name in ("nvidiactl", "dxg", "kfd")):  # no GPU
    os.environ.setdefault("TRITON_INTERPRET", "1")  # kernels run on the CPU where Triton is installed
import torch

from harness.models.config import ModelConfig
from harness.models.loading import load_model
from harness.models.transformer import build

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
MASK, END, TURN, VOCABULARY = 23, 20, 21, 24


@pytest.fixture(scope="session")
def shared():
    """The directory of reference data beside the checkout; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the reference data (../shared beside the checkout) is absent")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared):
    return shared / "golden"


@pytest.fixture(scope="session")
def golden_model(golden):
    """`golden_model(family, device)`: the trained tiny checkpoint whose decodes were recorded, in float32."""
    return cache(
        lambda family, device="cpu": (
            load_model(str(golden / f"{family}-tiny"), dtype="float32", device=device).model
        )
    )


@pytest.fixture(scope="session")
def tiny_config():
    """`tiny_config(family, **changes)`: a 2-layer shape; Dream's has bias, grouped KV heads and the shift."""

    def make(family, **changes):
        dream = family == "dream"
        shape = {
            "family": family,
            "d_model": 32,
            "n_layers": 2,
            "n_heads": 4,
            "n_kv_heads": 2 if dream else 4,
            "mlp_hidden": 48,
            "vocab_rows": VOCABULARY,
            "rope_theta": 10000.0,
            "rms_eps": 1e-6,
            "qkv_bias": dream,
            "tied": False,
            "max_length": 128,
            "mask_id": MASK,
            "pad_id": END,
            "bos_id": None,
            "terminators": (END, TURN),
            "shift": dream,
        }
        return ModelConfig(**(shape | changes))

    return make


@pytest.fixture(scope="session")
def tiny_denoiser(tiny_config):
    """`tiny_denoiser(family, dtype, **config changes)`: a seeded random transformer of enlarged weights.

    With an initialisation fit for training, positions hardly mix and every output is alike, so that
    tests of caches and batches would pass for the wrong reason; weights 3 times as large mix them.
    """

    @cache
    def make(family, dtype=torch.float64, scale=3.0, **changes):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build(tiny_config(family, **changes))
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if parameter.ndim > 1:
                        parameter.mul_(scale)
                    elif name.endswith("bias"):
                        parameter.normal_()
                    else:
                        parameter.add_(0.2 * torch.randn_like(parameter))
                if not model.config.tied:  # end of text is predicted often, so that stop rules cut
                    head = model.get_submodule(model.names.head).weight
                    head[END] = 0.7 * (head[4] + head[14])
        return model.to(dtype).eval().requires_grad_(False)

    return make
