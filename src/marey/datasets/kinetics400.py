"""Kinetics-400: clips of 10 s of 400 actions from YouTube.

Kay, Carreira, Simonyan, et al., *The Kinetics Human Action Video Dataset*, arXiv:1705.06950, 2017.
The lists are from https://deepmind.com/research/open-source/kinetics, the clips for instance from
https://github.com/cvdfoundation/kinetics-dataset:

    annotations/train.csv, val.csv, test.csv   label,youtube_id,time_start,time_end,split
    train/abseiling/-7kbO0v4hag_000107_000117.mp4   in folders of actions, or all in one

Any table with these columns is a list, whatever its name; test lists may lack the labels.

Complete: the paper has 306,245 videos, about 246,500 train, 19,900 validation and 38,700 test; as
YouTube loses videos, copies have fewer, and the missing are listed.
"""

from __future__ import annotations

import csv
from pathlib import Path

from marey.datasets.listing import Listing, Tree, foreign, read_text
from marey.errors import ManifestError

_COLUMNS = {"youtube_id", "time_start", "time_end"}
_SPLITS = {"validate": "val", "validation": "val"}


def read(root: Path, work: Path) -> Listing:
    """The videos as `train`, `val` and `test`, whichever have lists.

    Raises ManifestError where no list is there, or a line of one makes no sense.
    """
    tree, listing = Tree(root, work), Listing()
    rows: dict[tuple[str, str], str] = {}
    lists = 0
    for path in tree.files(lambda name: name.endswith(".csv")):
        reader = csv.DictReader(read_text(path))
        if not set(reader.fieldnames or ()) >= _COLUMNS:
            continue
        lists += 1
        for row in reader:
            try:
                times = f"{int(float(row['time_start'])):06}_{int(float(row['time_end'])):06}"
            except (TypeError, ValueError) as error:
                raise foreign(path, f"a list of Kinetics in line {reader.line_num}") from error
            split = row.get("split") or path.stem
            name = f"{row['youtube_id']}_{times}"
            rows[name, _SPLITS.get(split, split)] = row.get("label") or ""
    if not lists:
        raise ManifestError(
            f"{root} holds no list of Kinetics, a .csv with the columns label,youtube_id,"
            "time_start,time_end,split; name the folder that lists and clips are in."
        )
    for (name, split), action in rows.items():
        listing.add(tree, name, split, action)
    listing.surplus(tree)
    return listing
