"""Diving48 (V2): some 17,000 dives of 48 kinds, which differ in movement alone.

Li, Li, Vasconcelos, *RESOUND: Towards Action Recognition without Representation Bias*, ECCV 2018.
From http://www.svcl.ucsd.edu/projects/resound/dataset.html (`Diving48_rgb.tar.gz`, and the cleaned
labels of October 2020), unpacked into one folder:

    rgb/_8Vy3dlHg2w_00000.mp4
    Diving48_V2_train.json, Diving48_V2_test.json, Diving48_vocab.json

Complete: 15,027 train and 1,970 test videos.
"""

from __future__ import annotations

from pathlib import Path

from marey.datasets.listing import Listing, Tree, foreign, read_json


def read(root: Path, work: Path) -> Listing:
    """The videos as `train` and `test`; an action is its four parts (`Back 15som 05Twis FREE`).

    Raises ManifestError where the lists are not there, or no lists of Diving48.
    """
    tree, listing = Tree(root, work), Listing()
    path = tree.file("Diving48_vocab.json", "the names of the dives of Diving48")
    try:
        actions = [" ".join(parts) for parts in read_json(path)]
    except TypeError as error:
        raise foreign(path, "the list of dives of Diving48") from error
    for split in ("train", "test"):
        path = tree.file(f"Diving48_V2_{split}.json", f"the list of {split} videos of Diving48")
        try:
            rows = [(str(row["vid_name"]), actions[row["label"]]) for row in read_json(path)]
        except (TypeError, KeyError, IndexError) as error:
            raise foreign(path, "a list of Diving48 (vid_name, label)") from error
        for name, action in rows:
            listing.add(tree, name, split, action)
    listing.surplus(tree)
    return listing
