"""Prompts of unequal lengths and a sharp Learn2PD filter for the tiny models of the decoding tests."""

import random

import pytest
import torch

from strategies import parse
from strategies.filter import FilterNet, save_filter


@pytest.fixture(scope="session")
def prompts():
    """Ragged prompts without special tokens."""
    draw = random.Random(5)
    return [[draw.randrange(20) for _ in range(length)] for length in (3, 7, 1, 5)]


@pytest.fixture(scope="session")
def filter_file(tmp_path_factory):
    """A random filter for blocks of 4 whose answers hang on every input it reads."""
    path = tmp_path_factory.mktemp("filter") / "filter.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = FilterNet(4)
        for parameter in network.parameters():
            parameter.data.mul_(4)
    save_filter(network, path)
    return path


@pytest.fixture(scope="session")
def strategy(filter_file):
    """`strategy(spec)`: the spec parsed, FILTER in it standing for the filter's path."""
    return lambda spec: parse(spec.replace("FILTER", str(filter_file)))
