"""HMDB51: 6,766 clips of 51 actions from films and the web.

Kuehne, Jhuang, Garrote, Poggio, Serre, *HMDB: A Large Video Database for Human Motion Recognition*,
ICCV 2011. From https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database
(`hmdb51_org.rar` with one archive per action, `test_train_splits.rar`), unpacked into one folder:

    hmdb51_org/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi
    testTrainMulti_7030_splits/brush_hair_test_split1.txt, ...

A line of a list is a video and 1 (train), 2 (test) or 0 (not used in this split).

Complete: 3,570 train and 1,530 test videos in each of the three splits (70 and 30 per action).
"""

from __future__ import annotations

import re
from pathlib import Path

from marey.datasets.listing import Listing, Tree, foreign, read_text
from marey.errors import ConfigError, ManifestError

_SPLITS = {"0": "", "1": "train", "2": "test"}


def read(root: Path, work: Path, *, split: int = 1) -> Listing:
    """The videos of the official split 1, 2 or 3, as `train` and `test`.

    Raises ConfigError for another split, ManifestError where the lists are not there or no lists.
    """
    if split not in (1, 2, 3):
        raise ConfigError(f"HMDB51 has the splits 1, 2 and 3, not {split}.")
    tree, listing = Tree(root, work), Listing()
    lists = re.compile(rf"(.+)_test_split{split}\.txt")
    paths = tree.files(lists.fullmatch)
    if not paths:
        raise ManifestError(
            f"{root} holds no ACTION_test_split{split}.txt, the lists of split videos of HMDB51; "
            "name the folder they are in."
        )
    for path in paths:
        action = path.name.removesuffix(f"_test_split{split}.txt")
        for line in read_text(path):
            name, _, use = line.rpartition(" ")
            if use not in _SPLITS or not name:
                raise foreign(path, "a list of HMDB51 (a video and 0, 1 or 2)")
            stem = Path(name.strip()).stem
            if _SPLITS[use]:
                listing.add(tree, stem, _SPLITS[use], action)
            else:
                tree.video(stem, action)  # known, but of no use in this split
    listing.surplus(tree)
    return listing
