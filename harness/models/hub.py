"""The download of a checkpoint from the Hugging Face hub, or from its local cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.errors import UserError

# Weights in other formats and the repositories' own code are left on the hub.
PATTERNS = ("*.json", "*.safetensors", "*.jinja", "merges.txt", "vocab.txt")


def fetch(repo: str, revision: str | None = None) -> Path:
    """The local snapshot of hub repository `repo` at `revision`, downloading what is not cached.

    Raises UserError, naming the repository and the way out, where the hub cannot be reached and nothing
    is cached, the repository or revision does not exist, or its licence has not been accepted.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub import errors as hub

    at = f"{repo} at revision {revision}" if revision else repo
    local = "or pass a local copy as --model DIR"
    # The base of all of the HTTP client's errors: which client it is differs between versions.
    broken: tuple[type[Any], ...] = (OSError, hub.HfHubHTTPError.__bases__[0])
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(PATTERNS)))
    except hub.GatedRepoError as error:
        raise UserError(
            f"{repo} is gated: accept its terms at {constants.ENDPOINT}/{repo}, run `hf auth login`, {local}"
        ) from error
    except hub.RevisionNotFoundError as error:
        raise UserError(
            f"{repo} has no revision {revision!r}; see {constants.ENDPOINT}/{repo}/commits"
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise UserError(
            f"{repo} does not exist on {constants.ENDPOINT}, or is private: check the id, "
            f"run `hf auth login` {local}"
        ) from error
    except hub.HFValidationError as error:
        raise UserError(f"{repo!r} is not a hub id of the form ORG/NAME") from error
    except broken as error:
        reason = _cause(error)
        raise UserError(
            f"cannot download {at} from {constants.ENDPOINT} ({reason}); check the network or set "
            f"HF_ENDPOINT to a mirror, {local} (benchmark files: --data DIR)"
        ) from error


def _cause(error: BaseException) -> str:
    """The innermost reason on one line: huggingface_hub wraps connection errors several times."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return " ".join(str(error).split())[:200] or type(error).__name__
