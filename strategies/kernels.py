"""Which modules of Triton kernels this machine can use."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from types import ModuleType

import torch


def kernels(module: str, device: torch.device) -> ModuleType | None:
    """The module, where `device` is the current GPU, which kernels are launched on, and they can be built."""
    if device.type != "cuda" or device.index != torch.cuda.current_device():
        return None
    return _built(module)


@cache
def _built(module: str) -> ModuleType | None:
    """The module, once its `probe` has launched a kernel; None, with a warning, if that fails.

    Triton comes with torch for CUDA on Linux, and needs a C compiler to launch what it has built.
    """
    try:
        found = import_module(module)
        found.probe()
    except Exception as error:
        warnings.warn(f"{module}: plain operations are used, slower ones ({error})", stacklevel=2)
        return None
    return found
