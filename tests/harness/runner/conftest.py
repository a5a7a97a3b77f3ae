"""A tiny checkpoint and fake tasks, on which a whole run takes a fraction of a second."""

import shutil

import pytest

from harness.run_config import RunConfig
from harness.runner import run
from tests.checkpoints import write_checkpoint
from tests.harness.runner.kit import FakeTask


@pytest.fixture(scope="session")
def checkpoint_template(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / "tiny"
    write_checkpoint(directory)
    return directory


@pytest.fixture
def checkpoint(checkpoint_template, tmp_path):
    """A test's own copy of the tiny checkpoint."""
    return shutil.copytree(checkpoint_template, tmp_path / "tiny")


@pytest.fixture
def fake_tasks(monkeypatch):
    """Every task name is a FakeTask; no figure is drawn, which takes longer than the decoding."""
    monkeypatch.setattr("harness.runner_plan.load_task", FakeTask)
    monkeypatch.setattr("harness.runner.write_outputs", lambda directory: {})


@pytest.fixture
def go(fake_tasks, checkpoint, tmp_path):
    """`go(strategies, **options)`: a run of the tiny checkpoint, in tmp_path/run unless told otherwise."""

    def start(strategies="fixed,confidence:threshold=0.3", **options):
        defaults = {"model": str(checkpoint), "tasks": ("t1", "t2"), "output": tmp_path / "run"}
        defaults |= {"dtype": "float64", "device": "cpu", "batch_size": 3}
        return run(RunConfig(strategies=strategies, **(defaults | options)))

    return start
