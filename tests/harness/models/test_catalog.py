"""What a --model value means: names, hub ids, directories, and mistakes."""

import pytest

from harness.errors import UserError
from harness.models import hub
from harness.models.catalog import CATALOG, DEMO, entry_of, locate

NAMES = [
    *("demo", "llada-8b-instruct", "llada-8b-base", "llada-1.5", "dream-7b-instruct", "dream-7b-base"),
    *("dparallel-llada-8b-instruct", "dparallel-dream-7b-instruct"),
]


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """The (repository, revision) pairs that the hub was asked for."""
    asked = []
    monkeypatch.setattr(hub, "fetch", lambda repo, revision=None: asked.append((repo, revision)) or tmp_path)
    return asked


def test_the_catalog_has_every_name():
    assert list(CATALOG) == NAMES


def test_merged_adapters_are_in_the_catalog():
    assert {name for entry in CATALOG.values() for name in entry.merged.values()} <= CATALOG.keys()


def test_demo_is_embedded(fetched):
    assert locate("demo") == DEMO
    assert not fetched


def test_names_and_ids_go_to_the_hub(fetched):
    locate("llada-1.5")
    locate("someone/their-model", "v2")
    assert fetched == [("GSAI-ML/LLaDA-1.5", None), ("someone/their-model", "v2")]


@pytest.mark.parametrize("name", ["llada-1.5@v2", "GSAI-ML/LLaDA-1.5@v2"])
def test_a_revision_may_follow_the_name(fetched, name):
    locate(name)
    assert fetched == [("GSAI-ML/LLaDA-1.5", "v2")]
    assert entry_of(name) is CATALOG["llada-1.5"]


def test_a_directory_may_hold_an_at_sign(fetched, tmp_path):
    (tmp_path / "model@v2").mkdir()
    assert locate(str(tmp_path / "model@v2")) == tmp_path / "model@v2"
    assert not fetched


def test_a_directory_wins_over_a_hub_id(fetched, tmp_path, monkeypatch):
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("org/name").samefile(tmp_path / "org" / "name")
    assert not fetched


def test_entry_of_a_hub_id():
    assert entry_of("GSAI-ML/LLaDA-8B-Instruct") is CATALOG["llada-8b-instruct"]
    assert entry_of("other/model") is None


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean 'llada-8b-instruct'") as caught:
        locate("llada-8b-instruckt")
    assert all(name in str(caught.value) for name in NAMES)


@pytest.mark.parametrize("name", ["./absent", "/absent/model", "a/b/c", "~/absent", "../absent/model", ""])
def test_an_absent_directory_is_not_a_hub_id(fetched, name):
    with pytest.raises(UserError, match="existing directory"):
        locate(name)
    assert not fetched


def test_a_file_is_not_a_model(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match="is a file"):
        locate(str(tmp_path / "model.safetensors"))
