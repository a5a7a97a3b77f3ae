"""Kernels are used where they can be launched, and nowhere else."""

import sys
import types

import pytest
import torch

from strategies import kernels as module
from strategies.kernels import kernels

GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def one_gpu(monkeypatch):
    """A current GPU, as far as `kernels` asks."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    module._built.cache_clear()
    yield
    module._built.cache_clear()


@pytest.fixture
def built(monkeypatch):
    """`built(probe)`: the name of a module of kernels with that probe."""

    def make(probe):
        found = types.ModuleType("made_of_kernels")
        found.probe = probe
        monkeypatch.setitem(sys.modules, found.__name__, found)
        return found.__name__

    return make


def test_they_are_probed_once(built):
    probes = []
    name = built(lambda: probes.append(1))
    assert kernels(name, GPU) is kernels(name, GPU) is sys.modules[name]
    assert probes == [1]


def test_a_processor_and_another_gpu_get_none(built):
    name = built(lambda: pytest.fail("probed"))
    assert kernels(name, torch.device("cpu")) is None
    assert kernels(name, torch.device("cuda", 1)) is None


def test_without_triton_or_a_compiler_plain_operations_are_used_with_a_warning(built):
    def no_compiler():
        raise RuntimeError("Failed to find C compiler")

    with pytest.warns(UserWarning, match="plain operations are used.*Failed to find C compiler"):
        assert kernels(built(no_compiler), GPU) is None
    with pytest.warns(UserWarning, match="no_such_module"):
        assert kernels("no_such_module", GPU) is None
