"""The Hugging Face hub: weights and runs from there, and runs to there. An extra, `marey[hub]`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marey.errors import CheckpointError, ConfigError

RUN_FILES = ("run.json", "README.md", "model.safetensors")
"""What is fetched of a run; whatever else a repository holds stays there."""


def fetch_file(address: str) -> Path:
    """The file hf://owner/repo/file, or hf://owner/repo@revision/file, from the hub or its cache.

    Raises ConfigError where the address names no file or the extra is not installed,
    CheckpointError where the hub does not give it.
    """
    parts = re.fullmatch(r"hf://([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)", address)
    if parts is None:
        raise ConfigError(f"{address} is no file on the hub; write hf://owner/repo/file.")
    repo, revision, name = parts.groups()
    with _speaking(address) as hub:
        return Path(hub.hf_hub_download(repo, name, revision=revision))


def fetch_run(address: str) -> Path:
    """The folder of an exported run, hf://owner/repo or hf://owner/repo@revision. Raises as
    `fetch_file`."""
    parts = re.fullmatch(r"hf://([^/@]+/[^/@]+)(?:@([^/]+))?/?", address)
    if parts is None:
        raise ConfigError(f"{address} is no repository on the hub; write hf://owner/repo.")
    repo, revision = parts.groups()
    with _speaking(address) as hub:
        return Path(hub.snapshot_download(repo, revision=revision, allow_patterns=[*RUN_FILES]))


def push(folder: Path, repo: str, *, private: bool = True) -> None:
    """Uploads a folder to the repository owner/name, made where it does not exist yet.

    private: whether a repository made now is seen by its owner alone. Raises as `fetch_file`.
    """
    if not re.fullmatch(r"[^/@:]+/[^/@:]+", repo):
        raise ConfigError(f"{repo} is no repository on the hub; write owner/name.")
    with _speaking(repo) as hub:
        hub.create_repo(repo, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repo, folder_path=folder, commit_message="Exported by Marey")


@contextmanager
def _speaking(about: str) -> Iterator[Any]:
    """The hub's package; its errors become one sentence."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError as error:
        raise ConfigError(
            "The package for the Hugging Face hub is not installed; `pip install marey[hub]`."
        ) from error
    network = getattr(errors, "HTTPError", OSError)  # a class of its own in newer versions
    try:
        yield huggingface_hub
    except (OSError, ValueError, errors.EntryNotFoundError, network) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CheckpointError(f"The hub does not give or take {about} ({reason}).") from error
