"""UCF101: 13,320 clips of 101 actions.

Soomro, Zamir, Shah, *UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild*,
CRCV-TR-12-01, 2012. From https://www.crcv.ucf.edu/data/UCF101.php (`UCF101.rar`,
`UCF101TrainTestSplits-RecognitionTask.zip`), unpacked into one folder:

    UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi
    ucfTrainTestlist/trainlist01.txt, testlist01.txt, ...

Complete: train and test have 9,537 and 3,783 videos in split 1, 9,586 and 3,734 in split 2, 9,624
and 3,696 in split 3.
"""

from __future__ import annotations

from pathlib import Path

from marey.datasets.listing import Listing, Tree, foreign, read_text
from marey.errors import ConfigError


def read(root: Path, work: Path, *, split: int = 1) -> Listing:
    """The videos of the official split 1, 2 or 3, as `train` and `test`.

    Raises ConfigError for another split, ManifestError where the lists are not there or no lists.
    """
    if split not in (1, 2, 3):
        raise ConfigError(f"UCF101 has the splits 1, 2 and 3, not {split}.")
    tree, listing = Tree(root, work), Listing()
    for part in ("train", "test"):
        path = tree.file(f"{part}list{split:02}.txt", "the list of split videos of UCF101")
        for line in read_text(path):
            folder, slash, name = line.split()[0].partition("/")
            if not slash:
                raise foreign(path, "a list of UCF101 (Action/v_Action_g01_c01.avi)")
            listing.add(tree, Path(name).stem, part, folder)
    listing.surplus(tree)
    return listing
