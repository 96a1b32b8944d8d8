"""A corner of the disk in which tests build little data sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from scipy.io import savemat

from marey.datasets import prepare
from marey.datasets.listing import Prepared
from marey.manifest import Entry, Manifest
from marey.video import probe, write

FRAMES = 8
PHASES = [0, 0, 0, 1, 1, 2, 2, 2]


def pixels(frames: int = FRAMES, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Frames of one grey each, brighter from one to the next."""
    shades = np.linspace(20 + seed, 220 + seed, frames).astype(np.uint8)
    return np.broadcast_to(shades[:, None, None, None], (frames, 32, 32, 3)).copy()


@cache
def film() -> bytes:
    """A little video, as the bytes of its file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write(path, pixels(), 25)
        return path.read_bytes()


class Corner:
    """A folder to build a set in, and to prepare it from."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.out = root.parent / "out" / "set.csv"

    def video(self, *names: str) -> None:
        for name in names:
            self.put(name, film())

    def broken(self, name: str) -> None:
        self.put(name, film()[: len(film()) // 2])

    def put(self, name: str, content: bytes | str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def json(self, name: str, content: Any) -> None:
        self.put(name, json.dumps(content))

    def mat(self, name: str, variables: Mapping[str, Any]) -> None:
        self.put(name, "")
        savemat(self.root / name, dict(variables))

    def jpegs(self, folder: str, frames: int = FRAMES) -> None:
        for number, frame in enumerate(pixels(frames), 1):
            self.put(f"{folder}/{number:06}.jpg", jpeg(frame))

    def prepare(self, name: str, **options: Any) -> tuple[Prepared, dict[str, Entry]]:
        """The result, and the rows of the table by the file's name without ending."""
        done = prepare(name, self.root, self.out, **options)
        assert done.path == self.out
        table = Manifest.read(self.out)
        assert table.missing() == ()
        assert sum(done.counts.values()) == len(table)
        rows = {f"{entry.split}/{entry.path.stem}": entry for entry in table}
        assert len(rows) == len(table)
        return done, rows


def jpeg(frame: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    return cv2.imencode(".jpg", frame)[1].tobytes()


def told(notes: tuple[tuple[str, str], ...]) -> list[str]:
    assert all("\n" not in sentence and sentence.endswith(".") for _, sentence in notes)
    return [name for name, _ in notes]


def short(rows: Mapping[str, Entry]) -> dict[str, tuple[str, tuple[int, ...] | None]]:
    assert all(entry.frames == probe(entry.path).frames for entry in rows.values())
    return {name: (entry.action, entry.boundaries) for name, entry in rows.items()}
