"""GolfDB: 1,400 golf swings, each with the frames of eight events.

McNally, Vats, Pinto, Dulhanty, McPhee, Wong, *GolfDB: A Video Database for Golf Swing Sequencing*,
CVPR workshops 2019. From https://github.com/wmcnally/golfdb (`data/golfDB.mat`, and the clips of
160 x 160 pixels, `videos_160.zip`), unpacked into one folder:

    golfDB.mat
    videos_160/0.mp4, 1.mp4, ...

The events (address, toe-up, mid-backswing, top, mid-downswing, impact, mid-follow-through, finish)
become the boundaries of nine phases. They are frames of the recording; the clip begins with the
first of the ten numbers in the list and ends with the last. The list is read from the .mat file,
never from the pickles beside it.

Complete: 1,400 videos in four folds; one is tested on, the others are trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from marey.datasets.listing import Found, Listing, Tree, foreign
from marey.datasets.matlab import read_mat
from marey.errors import ConfigError
from marey.manifest import Entry


def read(root: Path, work: Path, *, split: int = 1) -> Listing:
    """The videos, those of the fold `split` (1 to 4) as `val` and the others as `train`.

    The columns `fold`, `youtube_id`, `player`, `sex`, `club`, `view` and `slow` say what the list
    says. Raises ConfigError for another fold, ManifestError where the list is not there or no list.
    """
    if split not in (1, 2, 3, 4):
        raise ConfigError(f"GolfDB has the splits 1, 2, 3 and 4, not {split}.")
    tree, listing = Tree(root, work), Listing()
    path = tree.file("golfDB.mat", "the list of swings of GolfDB")
    rows = read_mat(path).get("golfDB")
    for row in np.ravel([] if rows is None else rows):
        try:
            number, youtube, player, sex, club, view, slow, events, _, fold = (
                np.ravel(cell) for cell in row
            )
            frames = events.astype(np.int64) - int(events[0])
            name, fold_number = str(int(number[0])), int(fold[0])
            named = {"youtube_id": youtube, "player": player, "sex": sex, "club": club}
            extra = {
                key: _text(cell) for key, cell in {**named, "view": view, "slow": slow}.items()
            }
        except (ValueError, TypeError, IndexError) as error:
            raise foreign(path, "the list of GolfDB (ten columns a swing)") from error
        video = tree.video(name, "videos_160")
        if video is None:
            listing.missing.append((name, f"videos_160/{name}.mp4 is not there; download it."))
            continue
        entry = Entry(
            tree.name(video),
            video,
            "val" if fold_number == split else "train",
            "golf_swing",
            extra={"fold": str(fold_number), **extra},
        )
        phases = np.searchsorted(frames[1:-1], np.arange(frames[-1] + 1), side="right")
        listing.found.append(Found(entry, phases=phases))
    listing.surplus(tree)
    return listing


def _text(cell: Any) -> str:
    return str(cell[0]) if len(cell) else ""
