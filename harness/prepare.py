"""From a parsed strategy to one that can decode with a given model: its filter, its reference, its checks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness.decoding.request import check_region
from harness.models.loading import LoadedModel
from strategies import SpecError, Strategy, parse
from strategies.unmask import LearnedFilter, Oracle

FILTER = "filter.safetensors"


def prepare(strategy: Strategy, loaded: LoadedModel, gen_length: int, block_length: int) -> Strategy:
    """`prepare_for` a model that is loaded already."""
    return prepare_for(strategy, loaded.path, gen_length, block_length)


def prepare_for(strategy: Strategy, model_dir: Path, gen_length: int, block_length: int) -> Strategy:
    """The strategy with everything filled in that the model brings, checked before anything is decoded.

    learn2pd without a path reads the model's own filter.safetensors. Raises UserError or SpecError where
    the strategy, or the reference an oracle needs, cannot decode a region of these lengths.
    """
    rule = strategy.unmask
    own = model_dir / FILTER
    if isinstance(rule, LearnedFilter) and rule.filter is None and own.is_file():
        strategy = dataclasses.replace(strategy, unmask=dataclasses.replace(rule, filter=str(own)))
    check_region(strategy, gen_length, block_length)
    reference = reference_strategy(strategy)
    if reference is not None:
        prepare_for(reference, model_dir, gen_length, block_length)
    return strategy


def reference_strategy(strategy: Strategy) -> Strategy | None:
    """The strategy whose decode an oracle imitates, with the oracle's own weights; None for other rules.

    Raises SpecError where the reference is no strategy or itself needs a reference.
    """
    if not isinstance(strategy.unmask, Oracle):
        return None
    adapter = f"@{strategy.adapter}" if strategy.adapter else ""
    reference = parse(strategy.unmask.reference + adapter)
    if reference.unmask.needs_reference:
        raise SpecError(f"{strategy.spec}: the reference cannot be an oracle; give reference=fixed")
    return reference
