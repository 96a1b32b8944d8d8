"""From what a reader listed to the table: videos are made where needed, and all looked at."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from marey.datasets.labels import COLUMN, boundaries, spans, stretch
from marey.datasets.listing import Found, Listing, Note, Prepared
from marey.errors import ManifestError, VideoError
from marey.files import replacing
from marey.manifest import Entry, Manifest
from marey.manifest_table import write_table
from marey.progress import bar
from marey.video import probe


def finish(listing: Listing, out: Path, work: Path, show: bool) -> Prepared:
    """Writes the table of all videos that can be read, and the report beside it.

    work: folder for videos that have to be made.
    Raises ManifestError where there is none, StorageError where there is no room.
    """
    corrupt, unexpected = listing.corrupt, listing.unexpected
    found = _once(listing.found, work, unexpected)
    entries: list[Entry] = []
    with (
        bar("Looking at the videos", len(found), show) as advance,
        _pool() as pool,
    ):
        for video, seen in zip(found, pool.map(_look, found), strict=True):
            if isinstance(seen, int):
                entries.append(_labelled(video, seen, unexpected))
            else:
                corrupt.append((video.entry.name, seen))
            advance(note=video.entry.name)
    if not entries:
        _, reason = next(iter([*corrupt, *listing.missing]), ("", "its lists are empty."))
        raise ManifestError(f"no video of the set can be used, so {out} is not written; {reason}")
    Manifest(tuple(entries)).write(out)
    counts = Counter(entry.split for entry in entries)
    kinds = {"missing": listing.missing, "corrupt": corrupt, "unexpected": unexpected}
    rows = [(kind, name, reason) for kind, notes in kinds.items() for name, reason in notes]
    report = out.with_name(f"{out.stem}_report.csv")
    write_table(report, ("kind", "name", "reason"), rows)
    notes = {kind: tuple(notes) for kind, notes in kinds.items()}
    return Prepared(out, report, dict(sorted(counts.items())), **notes)


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads, for FFmpeg and OpenCV work outside Python's lock; what waits is dropped on exit."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _look(video: Found) -> int | str:
    """The number of frames of a video, made first where it is not there; or why there is none."""
    path = video.entry.path
    try:
        if video.make and not _whole(path, video.frames):
            video.make(path)
        return probe(path).frames
    except VideoError as error:
        return str(error)


def _whole(path: Path, frames: int | None) -> bool:
    """Whether an earlier run left the video complete."""
    if not path.is_file():
        return False
    try:
        return frames in (None, probe(path).frames)
    except VideoError:
        return False


def _labelled(video: Found, frames: int, unexpected: list[Note]) -> Entry:
    """The row of a video, with its labels in the table's forms."""
    entry = replace(video.entry, frames=frames)
    phases, elements = video.phases, video.elements
    for labels in (phases, elements):
        if labels is not None and len(labels) != frames:
            told = f"it has {frames} frames but labels for {len(labels)}; they were fitted to it."
            unexpected.append((entry.name, told))
    if phases is not None:
        starts = boundaries(stretch(phases, frames)) if len(phases) else None
        if starts is None:
            told = "its labels are not phases 0, 1, 2, ... in order; it has no boundaries."
            unexpected.append((entry.name, told))
        return replace(entry, boundaries=starts)
    if elements is not None:
        return replace(entry, extra={**entry.extra, COLUMN: spans(elements[:frames])})
    return entry


def _once(found: Iterable[Found], work: Path, unexpected: list[Note]) -> list[Found]:
    """Each file once: what two splits share gets a second name, for a table lists a file once."""
    splits: dict[str, set[str]] = {}
    kept = []
    for video in found:
        entry = video.entry
        known = splits.setdefault(os.path.abspath(entry.path), set())
        if entry.split in known:
            unexpected.append((entry.name, f"it is listed twice ({entry.split}); once is enough."))
            continue
        if known:
            path = work / entry.split / entry.path.name
            entry = replace(entry, path=path)
            video = replace(video, entry=entry, make=partial(_link, video.entry.path))
        known.add(entry.split)
        kept.append(video)
    return kept


def _link(source: Path, path: Path) -> None:
    """Another name for a file; a copy where the file system has no such thing."""
    if not source.is_file():
        raise VideoError(f"{source} is not there; download it again.")
    with replacing(path) as draft:
        try:
            os.link(source, draft)
        except OSError:
            shutil.copyfile(source, draft)
