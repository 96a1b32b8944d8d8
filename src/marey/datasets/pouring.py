"""Pouring: 84 videos of a hand that pours, in five phases.

Sermanet, Lynch, Chebotar, et al., *Time-Contrastive Networks: Self-Supervised Learning from Video*,
ICRA 2018; with phases as in Dwibedi, Aytar, Tompson, Sermanet, Zisserman, *Temporal
Cycle-Consistency Learning*, CVPR 2019. From https://storage.googleapis.com/tcc-pouring/, as the
script of https://github.com/google-research/google-research/tree/master/tcc fetches it:

    pouring_train-0-of-2.tfrecord, pouring_train-1-of-2.tfrecord, pouring_val-0-of-1.tfrecord

or as videos, which carry no phases: train/NAME.mp4, val/NAME.mp4. The pre-processed release of CARL
has both: `carl`.

Complete: 70 train and 14 val videos.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from pathlib import Path

from marey.datasets.listing import Found, Listing, Tree
from marey.datasets.recorded import SPLIT, movie, sequences
from marey.errors import ManifestError
from marey.manifest import Entry

VIDEOS = {"train": 70, "val": 14}
"""Of a complete copy."""


def read(root: Path, work: Path) -> Listing:
    """The videos as `train`, `val` and `test`, those of TFRecords with their phases.

    Raises ManifestError where neither are there.
    """
    tree, listing = Tree(root, work), Listing()
    files = tree.files(lambda name: ".tfrecord" in name)
    for path in files:
        split = SPLIT.search(path.name)
        if not split:
            told = "its name does not say whether it is train, val or test; it is left out."
            listing.unexpected.append((tree.name(path), told))
            continue
        for sequence in sequences(path, listing):
            video = work / split[1] / f"{Path(sequence.name).name}.mp4"
            entry = Entry(sequence.name, video, split[1], "pouring")
            make = partial(movie, path, sequence.offset)
            found = Found(entry, make, sequence.frames, phases=sequence.labels)
            listing.found.append(found)
    if not files:
        for video in map(Path, tree.unused()):
            if str(video.parent) in ("train", "val", "test"):
                entry = Entry(video.as_posix(), root / video, str(video.parent), "pouring")
                listing.found.append(Found(entry))
                tree.use(entry.path)
        if not listing.found:
            raise ManifestError(
                f"{root} holds neither pouring_train*.tfrecord nor videos in train/ and "
                "val/, the two forms of Pouring; name the folder they are in."
            )
    there = Counter(found.entry.split for found in listing.found)
    for part, count in VIDEOS.items():
        if there[part] < count:
            told = f"{there[part]} of its {count} videos are there; download Pouring again."
            listing.missing.append((part, told))
    listing.missing += (
        (name, f"{name} is not there, but others of its row are; download it.")
        for name in _row({path.name for path in files})
    )
    listing.surplus(tree)
    return listing


def _row(names: set[str]) -> list[str]:
    """The files that names such as `pouring_train-0-of-2.tfrecord` speak of and are not there."""
    row = re.compile(r"(.+-)\d+(-of-(\d+).*)")
    wanted = {
        f"{match[1]}{i}{match[2]}"
        for match in map(row.fullmatch, names)
        if match
        for i in range(int(match[3]))
    }
    return sorted(wanted - names)
