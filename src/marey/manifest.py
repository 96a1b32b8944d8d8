"""A corpus is a table: one row per video, with what is known of it."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from marey.errors import ManifestError
from marey.manifest_table import SUFFIXES, read_table, write_table
from marey.types import I64

_log = logging.getLogger(__name__)

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".mts", ".ogv", ".ts", ".webm", ".wmv"}
)
_COLUMNS = ("path", "split", "action", "frames", "boundaries")


@dataclass(frozen=True)
class Entry:
    """One video of a corpus.

    name: what the video is called in messages and results: its path as the user gave it.
    path: where it is.
    split: such as `train`; action: what happens in it. Empty = not known.
    frames: its length, None = not known.
    boundaries: 0-based frame numbers at which a new phase starts, increasing; k boundaries make
        k + 1 phases. None = no phase labels.
    extra: the table's further columns, as text.

    Raises ManifestError for boundaries that do not increase or lie outside the video.
    """

    name: str
    path: Path
    split: str = ""
    action: str = ""
    frames: int | None = None
    boundaries: tuple[int, ...] | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 1:
            raise ManifestError(f"{self.name} has {self.frames} frames; give at least 1, or none.")
        if any(after <= before for before, after in pairwise((0, *(self.boundaries or ())))):
            raise ManifestError(
                f"the boundaries of {self.name} do not increase from 1 on: {self.boundaries}; "
                "list the frames at which a new phase starts in order, each once."
            )
        self._check_end(self.frames)

    def phases(self, frames: int) -> I64:
        """(frames,) int64 phase of every frame, from 0, in a video of that many frames.

        Raises ManifestError where the video has no phase labels, or ends before they do.
        """
        if self.boundaries is None:
            raise ManifestError(
                f"{self.name} has no phase labels; add its boundaries to the table."
            )
        self._check_end(frames)
        return np.searchsorted(np.array(self.boundaries), np.arange(frames), side="right")

    def _check_end(self, frames: int | None) -> None:
        if frames is not None and self.boundaries and self.boundaries[-1] >= frames:
            raise ManifestError(
                f"{self.name} has a boundary at frame {self.boundaries[-1]}, but only {frames} "
                f"frames (0 to {frames - 1}); correct its boundaries."
            )


@dataclass(frozen=True)
class Manifest:
    """The videos of a corpus in a fixed order, each once; else ManifestError is raised."""

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        counts = Counter(os.path.abspath(entry.path) for entry in self)
        twice = [path for path, count in counts.items() if count > 1]
        if twice:
            raise ManifestError(f"{twice[0]} is listed {counts[twice[0]]} times; list it once.")

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    @staticmethod
    def of(sources: str | PathLike[str] | Iterable[str | PathLike[str]]) -> Manifest:
        """A video, a folder or a table, or several of these in any mixture, in the order given.

        The names from a single folder or table are relative to it; in a mixture they start with
        that folder as it was given.
        Raises ManifestError for what is not there, and as `from_folder` and `read` do.
        """
        if isinstance(sources, str | PathLike):
            sources = [sources]
        paths = [Path(source) for source in sources]
        if not paths:
            raise ManifestError("no video was given; name a video, a folder or a table.")
        entries: list[Entry] = []
        for path in paths:
            if not path.exists():
                raise ManifestError(f"{path} does not exist; name a video, a folder or a table.")
            if path.is_dir() or path.suffix.lower() in SUFFIXES:
                base = path if path.is_dir() else path.parent
                entries += (
                    entry if len(paths) == 1 else replace(entry, name=str(base / entry.name))
                    for entry in Manifest.read(path)
                )
            else:
                entries.append(Entry(str(path), path))
        return Manifest(tuple(entries))

    @staticmethod
    def from_folder(folder: str | PathLike[str]) -> Manifest:
        """All videos in a folder and the folders in it, sorted by name.

        A video is a file with one of VIDEO_SUFFIXES, in upper or lower case. Links are followed;
        hidden files and folders are not. A table in the folder is not read: whoever wants its
        labels names the table itself.

        The names of folders are actions where they can mean nothing else: the videos lie in two or
        more folders, `FOLDER/ACTION/x.mp4`, two or more in each, and none lies elsewhere. In any
        other layout, such as `FOLDER/2024-01/camera1/x.mp4`, no action is known.
        Raises ManifestError where there is no such folder or no video in it, or where a folder
        in it must not be read.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ManifestError(f"{folder} is not a folder; check the path.")
        try:
            names = sorted(path.relative_to(folder).as_posix() for path in _videos(folder))
        except OSError as error:
            raise ManifestError(
                f"{error.filename} cannot be read ({error.strerror}); name another folder."
            ) from error
        if not names:
            raise ManifestError(
                f"{folder} holds no videos ({' '.join(sorted(VIDEO_SUFFIXES))}); "
                "name the folder that they are in."
            )
        acts = _one_folder_per_action(names)
        return Manifest(
            tuple(
                Entry(name, folder / name, action=name.partition("/")[0] if acts else "")
                for name in names
            )
        )

    @staticmethod
    def read(path: str | PathLike[str]) -> Manifest:
        """A table (.csv, .tsv or .parquet), or else the videos of a folder (`from_folder`).

        A table needs the column `path`, absolute or relative to the table's folder, and may have
        `split`, `action`, `frames`, `boundaries` (numbers with spaces between them, empty = no
        phase labels) and others, which become `extra`. Text is UTF-8, with commas, semicolons or
        tabs between the columns. Of several lines on one video the last counts, and that is
        logged. Whether the videos exist is left to `missing`.
        Raises ManifestError, naming file and line, for a table that makes no sense.
        """
        path = Path(path)
        if path.is_dir():
            return Manifest.from_folder(path)
        if path.suffix.lower() not in SUFFIXES:
            raise ManifestError(f"{path} is not a table; give a .csv, .tsv or .parquet file.")
        columns, rows = read_table(path)
        repeated = [column for column, count in Counter(columns).items() if count > 1]
        if "path" not in columns or repeated:
            raise ManifestError(
                f"{path} needs one column `path`, and no column twice, but has "
                f"{', '.join(columns) or 'none'}; correct its first line."
            )
        extra = [column for column in columns if column not in _COLUMNS]
        entries: dict[str, Entry] = {}
        for line, row in rows:
            try:
                entry = _entry(path.parent, row, extra)
            except ManifestError as error:
                raise ManifestError(f"{path}, line {line}: {error}") from error
            if entries.get(where := os.path.abspath(entry.path)):
                _log.warning("%s, line %d replaces an earlier line on %s", path, line, entry.name)
            entries[where] = entry
        if not entries:
            raise ManifestError(f"{path} lists no videos; add a line for each.")
        return Manifest(tuple(entries.values()))

    def write(self, path: str | PathLike[str]) -> None:
        """Save as .csv, .tsv or .parquet, whole or not at all.

        Videos below the table's folder get relative paths, others absolute ones; these become
        their names when the table is read. Text cannot tell a single phase (boundaries `()`) from
        no phase labels, Parquet can.
        Raises ManifestError for another ending, StorageError where it cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in SUFFIXES:
            raise ManifestError(f"{path} is no table's name; let it end in .csv, .tsv or .parquet.")
        folder = Path(os.path.abspath(path.parent))
        extra = dict.fromkeys(column for entry in self for column in entry.extra)
        rows = []
        for entry in self:
            video = Path(os.path.abspath(entry.path))
            name = video.relative_to(folder) if video.is_relative_to(folder) else video
            row = (name.as_posix(), entry.split, entry.action, entry.frames, entry.boundaries)
            rows.append((*row, *(entry.extra.get(column, "") for column in extra)))
        write_table(path, [*_COLUMNS, *extra], rows)

    def select(self, *, split: str | None = None, action: str | None = None) -> Manifest:
        """The videos of a split and of an action, None = of any; there may be none."""
        return Manifest(
            tuple(
                entry
                for entry in self
                if split in (None, entry.split) and action in (None, entry.action)
            )
        )

    def actions(self) -> tuple[str, ...]:
        """The names of all actions, sorted."""
        return tuple(sorted({entry.action for entry in self} - {""}))

    def missing(self) -> tuple[Entry, ...]:
        """The videos whose files are not there."""
        return tuple(entry for entry in self if not entry.path.is_file())

    def check_files(self) -> None:
        """Raises ManifestError where files are not there: how many, and the first few."""
        missing = self.missing()
        if missing:
            names = ", ".join(str(entry.path) for entry in missing[:3])
            more = ", ..." if len(missing) > 3 else ""
            raise ManifestError(
                f"{len(missing)} of {len(self)} videos are not there ({names}{more}); "
                "correct their paths or take them off the list."
            )


def _videos(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All videos below, links followed, but never in a circle."""
    above |= {folder.resolve()}
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if path.resolve() not in above:
                yield from _videos(path, above)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            yield path


def _one_folder_per_action(names: Iterable[str]) -> bool:
    """Whether the videos lie as ACTION/x.mp4, two or more of each of two or more actions.

    An action of a single video cannot be compared; a folder for each video is no action at all.
    """
    places = [name.split("/") for name in names]
    counts = Counter(place[0] for place in places)
    return {len(place) for place in places} == {2} and len(counts) > 1 and min(counts.values()) > 1


def _entry(folder: Path, row: Mapping[str, Any], extra: Iterable[str]) -> Entry:
    """A row of a table; its empty cells are not in it."""
    if "path" not in row:
        raise ManifestError("the column path is empty; say where the video is.")
    frames, boundaries = row.get("frames"), row.get("boundaries")
    if isinstance(boundaries, str):
        boundaries = re.split(r"[\s,;]+", boundaries)
    return Entry(
        row["path"],
        folder / row["path"],
        row.get("split", ""),
        row.get("action", ""),
        None if frames is None else _integer(frames, "frames"),
        None if boundaries is None else tuple(_integer(b, "boundaries") for b in boundaries),
        {column: str(row.get(column, "")) for column in extra},
    )


def _integer(cell: Any, column: str) -> int:
    # Spreadsheets write the whole numbers of a column with gaps as 151.0.
    match = re.fullmatch(r"(-?\d+)(\.0*)?", str(cell))
    if not match:
        raise ManifestError(
            f"the column {column} holds {str(cell)!r}, which is not a whole number; correct it."
        )
    return int(match[1])
