"""Writing results so that a crash, a full disk or a second process never leaves half a file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marey.errors import StorageError, VideoError

READING_ARRAYS = threading.RLock()
"""Held while NumPy reads a file. It parses the header with `ast`, which on some versions of Python
fails now and then when several threads do so (python/cpython#106905)."""


def identity(video: Path, *more: object) -> str:
    """A name for what is computed of a video: by its place, time and size, and by `more`.

    Raises VideoError where there is no such file.
    """
    try:
        status = video.stat()
    except OSError as error:
        raise VideoError(f"There is no file {video}.") from error
    parts = (video.resolve(), status.st_mtime_ns, status.st_size, *more)
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turns the operating system's refusal to write `path` into one clear sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full; free some space and run the same command again"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = "there is no permission to write there; choose another place"
        else:
            reason = f"{error.strerror or error}"
        raise StorageError(f"{path} could not be written: {reason}.") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary file beside `path` that takes its place when the block ends well.

    Raises StorageError where it cannot be written; nothing is left behind then.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.draft")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield draft
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """The same for a folder with all that is in it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    old = path.with_name(f".{path.name}.old")
    try:
        with storing(path):
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            yield draft
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)
                path.rename(old)
            draft.rename(path)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Undoes a `replacing_folder` that was killed between its two renames."""
    old = path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        old.rename(path)


def write_json(path: Path, data: Any) -> None:
    """Writes JSON, whole or not at all. Raises StorageError."""
    with replacing(path) as draft:
        draft.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
