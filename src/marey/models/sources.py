"""Where weights files come from: this machine, an address with a checksum, the Hugging Face hub."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from filelock import FileLock

from marey import __version__, hub
from marey.errors import CheckpointError, ConfigError, StorageError
from marey.files import storing
from marey.progress import bar, console

_BLOCK = 1 << 20
_SECONDS = 30
"""Without a byte for so long, a download has failed."""


def cache_folder() -> Path:
    """Where what can be had again is kept: $MAREY_CACHE, else `marey` in the user's cache folder.

    Raises StorageError for a user without a home folder, as some containers have.
    """
    own = os.environ.get("MAREY_CACHE")
    if own:
        return Path(own)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "marey"
    except RuntimeError:
        raise StorageError(
            "This user has no home folder to keep files in; name a folder in MAREY_CACHE."
        ) from None


def locate(source: str | Path) -> Path:
    """The file of a source, on this machine; downloaded the first time that it is asked for.

    source: a path; `https://...#sha256=...`, the digest of the file's content in hexadecimal; or
        `hf://owner/repo/file`, with `repo@revision` for another branch, tag or commit than `main`.

    Raises ConfigError for an address without a checksum or that cannot be one, and where the
    package for the hub is not installed; CheckpointError where a file cannot be fetched or is not
    the one that was meant; StorageError where it cannot be stored. A path is not looked at.
    """
    text = str(source)
    if text.startswith("hf://"):
        return hub.fetch_file(text)
    if re.match(r"https?://", text):
        return _from_address(text)
    return Path(source)


def _from_address(text: str) -> Path:
    address, _, digest = text.partition("#sha256=")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise ConfigError(
            f"{text} says nothing of what the file must be; append #sha256= and the SHA-256 of its "
            "content, which its publisher names, or download it and give the file."
        )
    digest = digest.lower()
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name or "weights"
    path = cache_folder() / "weights" / digest[:24] / name
    if path.is_file():
        return path
    part = path.with_name(f"{name}.part")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{name}.lock")):  # of several processes one downloads
        if not path.is_file():
            _download(address, part)
            found = _sha256(part)
            if found != digest:
                part.unlink()
                raise CheckpointError(
                    f"{address} is not the file that was meant: its SHA-256 is {found}, not "
                    f"{digest}; check both."
                )
            with storing(path):
                part.replace(path)
    return path


def _download(address: str, part: Path) -> None:
    """Fetches what `part` does not hold yet."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": f"marey/{__version__}", "Range": f"bytes={have}-"}
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                have = 0  # it sends all of it
            left = answer.headers["Content-Length"]
            total = None if left is None else have + int(left)
            _write(answer, part, have, total)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return  # all of it is there, or another file: the checksum tells
        raise CheckpointError(
            f"{address} cannot be downloaded: the server answers {error.code} {error.reason}."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise CheckpointError(
            f"{address} cannot be downloaded ({error}); the same command goes on where it stopped."
        ) from error
    if total is not None and part.stat().st_size < total:
        raise CheckpointError(
            f"The download of {address} broke off after {part.stat().st_size:,} of {total:,} "
            "bytes; the same command goes on there."
        )


def _write(answer: http.client.HTTPResponse, part: Path, have: int, total: int | None) -> None:
    blocks = None if total is None else -(-total // _BLOCK)
    with storing(part):
        file = part.open("ab" if have else "wb", buffering=0)
    with file, bar("Downloading weights (MiB)", blocks, console.is_terminal) as advance:
        advance(have // _BLOCK)
        while block := answer.read(_BLOCK):
            with storing(part):
                file.write(block)
            advance()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
