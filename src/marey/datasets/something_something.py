"""Something-Something v2: 220,847 clips of people doing something with something.

Goyal, Ebrahimi Kahou, Michalski, et al., *The "Something Something" Video Database for Learning and
Evaluating Visual Common Sense*, ICCV 2017. From
https://www.qualcomm.com/developer/software/something-something-v-2-dataset, unpacked into one
folder:

    20bn-something-something-v2/1.webm
    something-something-v2-train.json, -validation.json, -labels.json (and -test.json)

Complete: 168,913 train, 24,777 validation and 27,157 test videos, 174 actions. Lists that are named
without `something-something-v2-` (`train.json`), as later downloads have them, are read as well.
"""

from __future__ import annotations

from pathlib import Path

from marey.datasets.listing import Listing, Tree, foreign, read_json
from marey.errors import ManifestError

_PREFIX = "something-something-v2-"


def read(root: Path, work: Path) -> Listing:
    """The videos as `train`, `val` and, where its list is there, `test`, which has no actions.

    Raises ManifestError where the lists are not there, or no lists of Something-Something.
    """
    tree, listing = Tree(root, work), Listing()
    path = _list(tree, "labels")
    known = read_json(path)
    if not isinstance(known, dict):
        raise foreign(path, "the list of actions of Something-Something v2")
    splits = {"train": "train", "validation": "val"}
    if tree.files({f"{_PREFIX}test.json", "test.json"}.__contains__):
        splits["test"] = "test"
    for name, split in splits.items():
        path = _list(tree, name)
        try:
            # the template has [something] where the list of actions has something
            rows = [
                (str(row["id"]), str(row.get("template", "")).replace("[", "").replace("]", ""))
                for row in read_json(path)
            ]
        except (TypeError, KeyError, AttributeError) as error:
            raise foreign(path, "a list of Something-Something v2 (id, template)") from error
        for video, action in rows:
            if action and action not in known:
                told = f"its action {action!r} is not in the list of actions; it keeps it."
                listing.unexpected.append((video, told))
            listing.add(tree, video, split, action)
    listing.surplus(tree)
    return listing


def _list(tree: Tree, name: str) -> Path:
    paths = tree.files({f"{_PREFIX}{name}.json", f"{name}.json"}.__contains__)
    if not paths:
        raise ManifestError(
            f"{tree.root} holds no {_PREFIX}{name}.json, a list of Something-Something v2; "
            "name the folder it is in."
        )
    return paths[-1]  # of both names, the long one
