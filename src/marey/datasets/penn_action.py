"""Penn Action: 2,326 videos of 15 actions as JPEG pictures; key events of 13 of them.

Zhang, Zhu, Derpanis, *From Actemes to Action: A Strongly-supervised Representation for Detailed
Action Understanding*, ICCV 2013. From http://dreamdragon.github.io/PennAction/
(`Penn_Action.tar.gz`):

    frames/0001/000001.jpg
    labels/0001.mat     action, train (1 or -1), nframes, joints, boxes

The key events are of Dwibedi et al., *Temporal Cycle-Consistency Learning*, CVPR 2019: a number for
every frame, 2 to 6 phases an action, not for `strum_guitar` and `jump_rope`. They come as files of
TFRecords whose names tell the split (`penn_action_train-0.tfrecord`); or from
https://github.com/minghchen/CARL_code, as `train/baseball_pitch/0001.npy` or in the `train.pkl` and
`val.pkl` of CARL's release. Give their folder as `labels`. Videos have the number of the set in
front of their name (`0001_baseball_pitch`).

The set does not tell a rate; videos are written with 25 frames per second.

Complete: 1,258 train and 1,068 test videos; with key events 1,140 and 966. The set has no list of
its videos; a number that has neither frames nor labels is missing in what is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from marey.datasets.carl import records
from marey.datasets.listing import Found, Listing, Tree, foreign
from marey.datasets.making import from_jpegs
from marey.datasets.matlab import read_mat
from marey.datasets.recorded import SPLIT, sequences
from marey.errors import ManifestError, VideoError
from marey.manifest import Entry
from marey.types import I64

VIDEOS, LABELLED = 2326, 2106
"""Of a complete copy, and how many of them have key events."""


def read(root: Path, work: Path, *, labels: str | Path | None = None) -> Listing:
    """The videos as `train` and `test`, with their key events as boundaries.

    labels: folder of the key events. Where it calls a video train and the set calls it test, or
        the reverse, the key events are right, for published numbers are theirs, and that is noted.
    Raises ManifestError where frames, labels or key events are not there, or not what they seem.
    """
    for folder in ("frames", "labels"):
        if not (root / folder).is_dir():
            raise ManifestError(
                f"{root} holds no folder {folder}, as Penn Action does; name the folder that "
                "frames and labels are in."
            )
    listing = Listing()
    events = {} if labels is None else _key_events(Path(labels), listing)
    annotated = {path.stem: path for path in (root / "labels").glob("*.mat")}
    pictured = {path.name: path for path in (root / "frames").iterdir() if path.is_dir()}
    if not annotated:
        raise ManifestError(f"{root / 'labels'} holds no .mat files; download Penn Action again.")
    for number in sorted(annotated.keys() & pictured.keys()):
        try:
            action, split, frames = _about(annotated[number])
        except ManifestError as error:
            listing.corrupt.append((number, str(error)))
            continue
        claimed, phases = events.get(number, (split, None))
        if claimed != split:
            told = f"it is {split} in the set but {claimed} in the key events, which are followed."
            listing.unexpected.append((number, told))
        entry = Entry(number, work / f"{number}.mp4", claimed, action)
        make = partial(_film, pictured[number], frames)
        listing.found.append(Found(entry, make, frames, phases))
    for number in sorted(annotated.keys() - pictured.keys()):
        told = f"{root / 'frames' / number} is not there; download Penn Action again."
        listing.missing.append((number, told))
    if (there := len(annotated.keys() | pictured.keys())) < VIDEOS:
        told = f"{there:,} of {VIDEOS:,} videos have frames or labels; download Penn Action again."
        listing.missing.append(("videos", told))
    if labels is not None and len(events) < LABELLED:
        told = f"{len(events):,} of {LABELLED:,} videos have key events in {labels}; complete them."
        listing.missing.append(("key events", told))
    for number in sorted(pictured.keys() - annotated.keys()):
        listing.unexpected.append((number, "it has frames but no labels; it is left out."))
    for number in sorted(events.keys() - annotated.keys()):
        listing.unexpected.append((number, "it has key events but is not in the set."))
    return listing


def _about(path: Path) -> tuple[str, str, int]:
    """Action, split and number of frames of a video."""
    variables = read_mat(path)
    try:
        action, train, frames = (
            np.ravel(variables[name])[0] for name in ("action", "train", "nframes")
        )
        return str(action), "train" if int(train) == 1 else "test", int(frames)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise foreign(path, "a label of Penn Action (action, train, nframes)") from error


def _film(folder: Path, frames: int, path: Path) -> None:
    """Writes the pictures 000001.jpg, 000002.jpg, ... of a folder as a video."""
    names = sorted(p.name for p in folder.glob("*.jpg") if not p.name.startswith("."))
    if names != [f"{i:06}.jpg" for i in range(1, frames + 1)]:
        raise VideoError(
            f"{folder} holds {len(names)} pictures, not 000001.jpg to {frames:06}.jpg; "
            "download Penn Action again."
        )
    from_jpegs((_read(folder / name) for name in names), str(folder), path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VideoError(f"{path} cannot be read ({error.strerror}); check it.") from error


def _key_events(folder: Path, listing: Listing) -> dict[str, tuple[str, I64]]:
    """Split and phases of every labelled video, by its number."""
    if not folder.is_dir():
        raise ManifestError(f"{folder} is not a folder; name the one with the key events.")
    tree = Tree(folder)
    events: dict[str, tuple[str, I64]] = {}
    for path in tree.files(lambda name: Path(name).suffix in (".npy", ".pkl", ".tfrecord")):
        parts = reversed(tree.name(path).split("/"))
        split = next((match[1] for part in parts if (match := SPLIT.search(part))), None)
        if split is None:
            told = "its name does not say whether it is train, val or test; it is left out."
            listing.unexpected.append((tree.name(path), told))
            continue
        for name, labels in _labels(path, listing):
            if match := re.match(r"\d{4}", name):
                events[match[0]] = "train" if split == "train" else "test", labels
    if not events:
        raise ManifestError(
            f"{folder} holds no key events, neither TFRecords nor train/ACTION/0001.npy nor "
            "train.pkl; name the folder they are in."
        )
    return events


def _labels(path: Path, listing: Listing) -> Iterator[tuple[str, I64]]:
    """Names of videos and numbers of their frames in one file."""
    if path.suffix == ".pkl":
        yield from ((record.name, record.labels) for record in records(path))
    elif path.suffix == ".tfrecord":
        for sequence in sequences(path, listing):
            if sequence.labels is not None:
                yield sequence.name, sequence.labels
    else:
        try:
            numbers = np.load(path, allow_pickle=False)
            yield path.name, numbers.astype(np.int64).reshape(-1)
        except (OSError, ValueError, EOFError, TypeError) as error:
            raise foreign(path, "an array of numbers") from error
