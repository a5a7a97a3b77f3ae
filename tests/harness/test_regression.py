"""The regression gate runs a small set on the demo model and catches rules that are broken on purpose."""

import numpy as np
import pytest

from harness.errors import UserError
from harness.models.catalog import DEMO
from harness.regression import measure
from harness.runner import Outcome
from results import regress
from strategies.base import UnmaskRule
from strategies.cache import DualCache
from strategies.stop import EndOfTextPrediction
from strategies.unmask import Confidence

SET = {
    "model": "demo",
    "strategies": ["confidence", "confidence+dual-cache", "confidence+eotp"],
    "tasks": ["demo-math"],
    "limit": 4,
    "batch_size": 4,
}


def test_a_set_that_was_stopped_is_not_compared(monkeypatch, tmp_path):
    monkeypatch.setattr("harness.regression.run", lambda *_, **__: Outcome(tmp_path, [], {}, 1.0, "SIGTERM"))
    with pytest.raises(UserError, match="stopped by SIGTERM"):
        measure(SET)


def test_settings_that_are_not_whole_are_named():
    with pytest.raises(UserError, match="lack batch_size"):
        measure({name: value for name, value in SET.items() if name != "batch_size"})


@pytest.mark.parametrize("change", [{"strategies": 3}, {"tasks": "demo-math"}, {"limit": "4"}])
def test_settings_of_another_type_are_named(change):
    with pytest.raises(UserError, match=f"baseline's {next(iter(change))} cannot be"):
        measure(SET | change)


@pytest.fixture(scope="module")
def baseline():
    if not (DEMO / "model.safetensors").is_file():
        pytest.skip("the demo model's weights are not in this checkout")
    return measure(SET)


def broken(baseline):
    return {each.strategy for each in regress.compare(baseline, measure(SET)) if each.regression}


def test_a_sound_tree_passes_exactly(baseline):
    assert regress.compare(baseline, measure(SET)) == []


def test_a_threshold_read_wrongly_is_caught(baseline, monkeypatch):
    monkeypatch.setattr(Confidence, "admit", lambda self, p, score: score >= 0.99)
    assert broken(baseline) == set(SET["strategies"])


def test_progress_counted_twice_is_caught(baseline, monkeypatch):
    honest = UnmaskRule.transfer_index

    def twice(self, p):
        first = honest(self, p)
        rest = np.where(p.eligible & ~first, self.score(p), -np.inf)
        rows, second = np.arange(len(rest)), rest.argmax(1)
        first[rows, second] |= np.isfinite(rest[rows, second])
        return first

    monkeypatch.setattr(UnmaskRule, "transfer_index", twice)
    assert broken(baseline) == set(SET["strategies"])


def test_a_dual_cache_that_is_never_refreshed_is_caught(baseline, monkeypatch):
    def span(self, row):
        return (0, row.end) if row.nfe == 0 else (row.block, row.block_end)

    monkeypatch.setattr(DualCache, "span", span)
    assert broken(baseline) == {"confidence+dual-cache"}


def test_an_end_of_text_off_by_one_is_caught(baseline, monkeypatch):
    honest = EndOfTextPrediction.cut

    def late(self, p, transfer, vouched):
        return np.minimum(honest(self, p, transfer, vouched) + 1, p.gen_length)

    monkeypatch.setattr(EndOfTextPrediction, "cut", late)
    assert broken(baseline) == {"confidence+eotp"}
