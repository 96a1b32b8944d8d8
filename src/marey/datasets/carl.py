"""The pre-processed Pouring, Penn Action and FineGym that the authors of CARL release.

Chen, Wei, Li, Cai, *Frame-wise Action Representations for Long Videos via Sequence Contrastive
Learning*, CVPR 2022. From https://github.com/minghchen/CARL_code; each set is a folder of its own:

    train.pkl, val.pkl     (FineGym: gym99_train_v1.0.pkl, gym99_val.pkl, and so with gym288)
    videos/0001_baseball_pitch.mp4     (FineGym: processed_videos/)

A pickle is a list of dicts with `id`, `name`, `video_file`, `seq_len` and `frame_label`, the number
of every frame; in Penn Action it is a pair of that list and of another one that is not needed.
FineGym has `event_label` as well, and -1 where a frame shows nothing that has a name. Pickles are
read by `unpickling`, which executes nothing.

Complete: Pouring 70 train and 14 val videos; Penn Action 1,140 and 966, 13 actions (see
`penn_action`); FineGym as many as its lists name events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marey.datasets.finegym import EVENTS
from marey.datasets.listing import Found, Listing, Tree, foreign
from marey.datasets.unpickling import load
from marey.errors import ManifestError
from marey.manifest import Entry
from marey.types import I64

_NAMES = re.compile(r"(?:gym(\d+)_)?(train|val|test)(?:_v[\d.]+)?\.pkl")


def read(root: Path, work: Path, *, classes: int = 99) -> Listing:
    """The videos as `train`, `val` and `test`, whichever have a pickle.

    classes: 99 or 288, which labels of FineGym are read. They go into the column `elements`; the
        others are phases and become boundaries.
    Raises ManifestError where no pickle is there, or one is not of this form, or unsafe.
    """
    tree, listing = Tree(root, work), Listing()
    lists = [
        (path, match[2])
        for path in tree.files(lambda name: name.endswith(".pkl"))
        if (match := _NAMES.fullmatch(path.name)) and match[1] in (None, str(classes))
    ]
    if not lists:
        raise ManifestError(
            f"{root} holds no train.pkl or val.pkl (FineGym: gym{classes}_train_v1.0.pkl), the "
            "lists of CARL's release; name the folder they are in."
        )
    for split in sorted({"train", "val"} - {split for _, split in lists}):
        told = f"the release has a list of {split} videos (.pkl) beside this one; download it."
        listing.missing.append((split, told))
    for path, split in lists:
        for record in records(path):
            video = tree.video(Path(record.file).stem)
            if video is None:
                told = f"{record.file} ({split}) is not there; download it again."
                listing.missing.append((record.name, told))
                continue
            if record.event is None:
                penn = re.fullmatch(r"\d{4}_(.+)", record.name)
                entry = Entry(tree.name(video), video, split, penn[1] if penn else "")
                listing.found.append(Found(entry, phases=record.labels))
            else:
                entry = Entry(tree.name(video), video, split, EVENTS.get(record.event, ""))
                listing.found.append(Found(entry, elements=record.labels))
    listing.surplus(tree)
    return listing


@dataclass(frozen=True, slots=True)
class Record:
    """What a pickle tells of a video. labels: (frames,).  event: of FineGym, else None."""

    name: str
    file: str
    labels: I64
    event: int | None


def records(path: Path) -> list[Record]:
    """The videos of a pickle. Raises ManifestError for another one, and for an unsafe one."""
    data = load(path)
    if isinstance(data, tuple) and data:
        data = data[0]
    try:
        return [
            Record(
                str(record["name"]),
                str(record["video_file"]),
                np.asarray(record["frame_label"]).astype(np.int64).reshape(-1),
                int(record["event_label"]) if "event_label" in record else None,
            )
            for record in data
        ]
    except (TypeError, KeyError, ValueError) as error:
        raise foreign(path, "a list of CARL's release (name, video_file, frame_label)") from error
