"""Decoding: one loop over a canvas of mask tokens."""

from harness.decoding.generation import Generation
from harness.decoding.loop import decode

__all__ = ["Generation", "decode"]
