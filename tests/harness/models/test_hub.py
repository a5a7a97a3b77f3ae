"""Downloads from a hub mirror served on this machine, and every way in which a hub can refuse."""

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import constants

from harness.errors import UserError
from harness.models import hub
from harness.models.loading import load_model
from tests.checkpoints import write_checkpoint

COMMIT = "a" * 40
REPO = "GSAI-ML/LLaDA-8B-Instruct"


class Mirror(BaseHTTPRequestHandler):
    """The hub's API over one directory: model info, file heads and files; other names get its refusals."""

    def respond(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"content_length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if "gated" in path:
            return self.respond(403, b"{}", x_error_code="GatedRepo", x_error_message="Access is restricted")
        if REPO not in path:
            return self.respond(404, b"{}", x_error_code="RepoNotFound")
        if path.startswith("/api/models"):
            return self.info(path)
        self.server.asked.append(path.rsplit("/", 1)[-1])
        return self.file(path)

    do_HEAD = do_GET

    def info(self, path):
        if "/revision/" in path and path.rsplit("/", 1)[-1] not in ("main", "v2", COMMIT):
            return self.respond(404, b"{}", x_error_code="RevisionNotFound")
        names = sorted(file.name for file in self.server.directory.iterdir())
        if "/tree/" in path:
            found = [
                {
                    "type": "file",
                    "path": name,
                    "size": (self.server.directory / name).stat().st_size,
                    "oid": "0" * 40,
                }
                for name in names
            ]
            return self.respond(200, json.dumps(found).encode(), content_type="application/json")
        body = {"id": REPO, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
        return self.respond(200, json.dumps(body).encode(), content_type="application/json")

    def file(self, path):
        file = self.server.directory / path.rsplit("/", 1)[-1]
        if not file.is_file():
            return self.respond(404, b"", x_error_code="EntryNotFound")
        data = file.read_bytes()
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        if self.server.cut == file.name and self.command == "GET":
            self.respond(200, data[: len(data) // 2], content_length=len(data), etag=etag)
            return self.connection.close()
        return self.respond(200, data, etag=etag, x_repo_commit=COMMIT, accept_ranges="bytes")

    def log_message(self, *args):
        """Quiet."""


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A served checkpoint in three shards, with code and weights in other formats beside it."""
    directory = tmp_path / "served"
    write_checkpoint(directory, shards=3)
    (directory / "modeling_llada.py").write_text("raise RuntimeError")
    (directory / "pytorch_model.bin").write_bytes(b"other weights")
    (directory / "README.md").write_text("# card")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.directory, server.asked, server.cut = directory, [], None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    use_hub(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path / "cache")
    yield server
    server.shutdown()
    server.server_close()


def use_hub(monkeypatch, endpoint, cache, offline=False):
    """What HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_OFFLINE would set before the library is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def refusal(repo=REPO, revision=None):
    with pytest.raises(UserError) as caught:
        hub.fetch(repo, revision)
    message = str(caught.value)
    assert "\n" not in message
    assert repo in message
    return message


def test_a_named_model_is_downloaded_and_loaded(mirror):
    loaded = load_model("llada-8b-instruct", device="cpu")
    local = load_model(str(mirror.directory), device="cpu")
    assert loaded.name == "llada-8b-instruct"
    own = local.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in loaded.model.state_dict().items())
    assert loaded.config == local.config
    assert loaded.tokenizer.chat("the answer") == local.tokenizer.chat("the answer")


def test_only_what_is_read_is_downloaded(mirror):
    hub.fetch(REPO)
    assert {name for name in mirror.asked if name.endswith((".py", ".bin", ".md"))} == set()
    assert sum(name.endswith(".safetensors") for name in set(mirror.asked)) == 3


def test_what_is_cached_needs_no_hub(mirror, monkeypatch, tmp_path):
    hub.fetch(REPO)
    mirror.asked.clear()
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    assert load_model(REPO, device="cpu").config.family == "llada"
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache", offline=True)
    assert load_model(REPO, device="cpu").config.family == "llada"
    assert not mirror.asked


def test_a_cache_filled_by_hand_is_read(monkeypatch, tmp_path):
    root = tmp_path / "cache" / "models--Dream-org--Dream-v0-Instruct-7B"
    write_checkpoint(root / "snapshots" / COMMIT, "dream", shards=2)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)
    use_hub(monkeypatch, "https://huggingface.co", tmp_path / "cache", offline=True)
    loaded = load_model("dream-7b-instruct", device="cpu")
    assert (loaded.config.family, loaded.path.name) == ("dream", COMMIT)


def test_a_revision_is_asked_for(mirror):
    assert hub.fetch(REPO, "v2").name == COMMIT


def test_an_interrupted_download_is_said_and_then_continued(mirror, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the library waits between its attempts
    mirror.cut = "model-00002-of-00003.safetensors"
    assert "--model DIR" in refusal()
    mirror.cut = None
    assert load_model(REPO, device="cpu").config.family == "llada"


def test_a_wrong_revision_is_named(mirror):
    assert "no revision 'v9'" in refusal(revision="v9")


def test_a_missing_repository(mirror):
    message = refusal("nobody/nothing")
    assert "does not exist" in message
    assert "--model DIR" in message


def test_a_gated_repository_says_how_to_get_in(mirror):
    message = refusal("some/gated-model")
    assert "accept its terms" in message
    assert "hf auth login" in message


def test_an_unreachable_hub_names_the_ways_out(monkeypatch, tmp_path):
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    message = refusal()
    assert all(way in message for way in ("HF_ENDPOINT", "--model DIR", "--data DIR", "refused"))


def test_an_offline_hub_names_the_ways_out(monkeypatch, tmp_path):
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache", offline=True)
    assert "offline mode" in refusal()


def test_an_id_that_is_none():
    assert "ORG/NAME" in refusal("a--b/..c")
