"""What a reader of a data set finds in its folder, and how it looks for it."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marey.errors import ManifestError
from marey.manifest import VIDEO_SUFFIXES, Entry
from marey.types import I64

Note = tuple[str, str]
"""What a sentence is about, and the sentence."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A data set as a table, and what was not as it should be.

    path: the table.
    report: a table of what follows, with the columns `kind`, `name` and `reason`.
    counts: videos in the table, by split.
    missing: named by the set's lists, but not there.
    corrupt: there, but not to be read; not in the table.
    unexpected: there, but not in the lists; or in the table without labels that make no sense.
    """

    path: Path
    report: Path
    counts: Mapping[str, int]
    missing: tuple[Note, ...]
    corrupt: tuple[Note, ...]
    unexpected: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A video of a data set that is there, or can be made from what is there.

    make: writes the video at `entry.path`, whole or not at all; None = it is there.
    frames: how many frames it should have; None = not told.
    phases: (L,) a phase number, from 0 and not decreasing, for every frame.
    elements: (L,) the number of what is done in every frame, -1 = nothing that has a name.
    """

    entry: Entry
    make: Callable[[Path], None] | None = None
    frames: int | None = None
    phases: I64 | None = None
    elements: I64 | None = None


@dataclass(slots=True)
class Listing:
    """All that a reader found, not yet looked into."""

    found: list[Found] = field(default_factory=list)
    missing: list[Note] = field(default_factory=list)
    corrupt: list[Note] = field(default_factory=list)
    unexpected: list[Note] = field(default_factory=list)

    def add(
        self, tree: Tree, name: str, split: str, action: str, extra: Mapping[str, str] | None = None
    ) -> None:
        """The video `name` (without ending) that a list of the set asks for, there or missing."""
        path = tree.video(name, action)
        if path is None:
            self.missing.append((name, f"{name} ({split}) is not there; download it again."))
        else:
            entry = Entry(tree.name(path), path, split, action, extra=extra or {})
            self.found.append(Found(entry))

    def surplus(self, tree: Tree) -> None:
        """Notes all videos that no list asked for."""
        self.unexpected += (
            (name, "no list of the set names it; it is left out.") for name in tree.unused()
        )


class Tree:
    """All files below a folder, links followed, but never in a circle; hidden ones left out.

    skip: a folder that is not looked into, for Marey writes there itself.
    """

    def __init__(self, root: Path, skip: Path | None = None) -> None:
        self.root = root
        self._files: dict[str, list[Path]] = defaultdict(list)
        self._videos: dict[str, list[Path]] = defaultdict(list)
        self._used: set[Path] = set()
        seen = {os.path.realpath(skip)} if skip else set()
        for folder, folders, names in os.walk(root, followlinks=True):
            if os.path.realpath(folder) in seen:
                folders.clear()
                continue
            seen.add(os.path.realpath(folder))
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            for name in sorted(n for n in names if not n.startswith(".")):
                path = Path(folder, name)
                self._files[name].append(path)
                if path.suffix.lower() in VIDEO_SUFFIXES:
                    self._videos[path.stem].append(path)

    def name(self, path: Path) -> str:
        """A file's path from the root."""
        return path.relative_to(self.root).as_posix()

    def file(self, name: str, what: str) -> Path:
        """The file of that name, wherever it lies. Raises ManifestError where there is none."""
        if name not in self._files:
            raise ManifestError(f"{self.root} holds no {name}, {what}; name the folder it is in.")
        return self._files[name][0]

    def files(self, matching: Callable[[str], Any]) -> list[Path]:
        """All files whose name is accepted, in order."""
        return [p for name in sorted(self._files) if matching(name) for p in self._files[name]]

    def video(self, name: str, folder: str = "") -> Path | None:
        """The video of that name, without its ending; of several, the one in `folder`."""
        paths = self._videos.get(name)
        if not paths:
            return None
        path = next((p for p in paths if p.parent.name == folder), paths[0])
        self._used.add(path)
        return path

    def use(self, path: Path) -> None:
        """Takes a video for known."""
        self._used.add(path)

    def unused(self) -> list[str]:
        """The videos that were never asked for."""
        paths = (path for paths in self._videos.values() for path in paths)
        return sorted(self.name(path) for path in paths if path not in self._used)


def read_text(path: Path) -> list[str]:
    """The lines of a list that are not empty. Raises ManifestError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}); check it.") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not text; download it again.") from error
    return [line.strip() for line in lines if line.strip()]


def read_json(path: Path) -> Any:
    """A JSON file. Raises ManifestError."""
    try:
        return json.loads("\n".join(read_text(path)))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path} is not JSON ({error}); download it again.") from error


def foreign(path: Path, what: str) -> ManifestError:
    """The error for a file of annotations that is not what its name says."""
    return ManifestError(f"{path} is not {what}; download it again.")
