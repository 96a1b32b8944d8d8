"""Videos with frame labels in TFRecords, as the authors of TCC distribute them.

Each record is a SequenceExample: in its context `name` and `len`, in its lists `video`, a JPEG for
every frame, and `frame_labels`, a number for every frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marey.datasets.listing import Listing
from marey.datasets.making import from_jpegs
from marey.datasets.tfrecord import Record, parse, records
from marey.errors import ManifestError, VideoError
from marey.types import I64

SPLIT = re.compile(r"(?:^|[_-])(train|val|test)(?=[_.-]|$)")
"""Finds the split in the name of a file or folder."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """A video in a file of records: where it begins, in bytes, and what is told of it.

    labels: (frames,) or None.  pictures: JPEGs; empty where they were not asked for.
    """

    name: str
    offset: int
    frames: int
    labels: I64 | None
    pictures: list[bytes]


def sequences(path: Path, listing: Listing) -> Iterator[Sequence]:
    """All videos of a file but those that are damaged, which are noted as corrupt."""
    try:
        for record in records(path):
            try:
                yield _sequence(record, path)
            except VideoError as error:
                listing.corrupt.append((path.name, str(error)))
    except ManifestError as error:
        listing.corrupt.append((path.name, str(error)))


def movie(source: Path, offset: int, path: Path) -> None:
    """Writes the video that begins at byte `offset` of a file.

    Raises VideoError where it is damaged, StorageError where there is no room.
    """
    try:
        sequence = _sequence(next(records(source, offset)), source)
    except (ManifestError, StopIteration) as error:
        raise VideoError(f"{source} has changed; run the same command again.") from error
    from_jpegs(sequence.pictures, f"{sequence.name} in {source}", path)


def _sequence(record: Record, path: Path) -> Sequence:
    where = f"the record at byte {record.offset} of {path}"
    if record.data is None:
        raise VideoError(f"{where} is damaged; download the file again.")
    try:
        example = parse(record.data)
        (name,) = example.context["name"]
        video = example.steps["video"]
        pictures = [picture for (picture,) in video if isinstance(picture, bytes)]
        if not isinstance(name, bytes) or len(pictures) < len(video):
            raise ValueError("numbers in place of text or pictures")
        labels = [label for (label,) in example.steps.get("frame_labels", [])]
        numbers = np.array(labels, np.int64) if labels else None
        return Sequence(name.decode(), record.offset, len(pictures), numbers, pictures)
    except (KeyError, ValueError) as error:
        raise VideoError(f"{where} is not a video with name and frames; leave it out.") from error
