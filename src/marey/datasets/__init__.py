"""Readers of public data sets, from the layout in which each is distributed to a manifest.

    from marey.datasets import prepare
    done = prepare("ucf101", "UCF101/", "ucf101.csv", split=1)

One module per set; its docstring says where the set comes from, what its folder looks like, and
how many videos a complete copy has. Nothing is downloaded, and nothing in a set is executed.
"""

from __future__ import annotations

import importlib
import inspect
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marey.errors import ConfigError, ManifestError

if TYPE_CHECKING:  # `marey --help` lists the sets and must not pay for importing their readers
    from marey.datasets.listing import Prepared

DATASETS: dict[str, str] = {
    "carl": "CARL's pre-processed release of Pouring, Penn Action or FineGym",
    "diving48": "Diving48",
    "finegym": "FineGym, cut into events",
    "golfdb": "GolfDB",
    "hmdb51": "HMDB51",
    "kinetics400": "Kinetics-400",
    "penn_action": "Penn Action",
    "pouring": "Pouring",
    "something_something": "Something-Something v2",
    "ucf101": "UCF101",
}
"""Every data set that `prepare` reads: the name of its module here, and its own."""


def prepare(
    name: str,
    root: str | PathLike[str],
    out: str | PathLike[str],
    *,
    show: bool = False,
    **options: Any,
) -> Prepared:
    """Makes a table of a data set: its videos that can be read, with splits, actions and phases.

    Sets that are distributed as pictures, or as long recordings, become videos in the folder
    `<out without ending>_videos`; those that are there and whole are kept, so that the same call
    goes on where another one stopped.

    Args:
        name: one of DATASETS.
        root: folder of the set, in the layout that the module `marey.datasets.<name>` describes.
        out: table to write (.csv, .tsv or .parquet).
        show: show progress.
        options: what the set's module offers: a `split`, `classes`, or a folder of `labels`.

    What is missing, corrupt or unexpected is in the result and in the table
    `<out without ending>_report.csv`.
    Raises ConfigError for a set or an option that does not exist, ManifestError where `root` is
    not that set or nothing of it can be used, StorageError where there is no room.
    """
    from marey.datasets.checking import finish
    from marey.manifest_table import SUFFIXES

    if name not in DATASETS:
        raise ConfigError(f"there is no data set {name!r}; there are {', '.join(DATASETS)}.")
    read = importlib.import_module(f"marey.datasets.{name}").read
    offered = list(inspect.signature(read).parameters)[2:]
    unknown = sorted(set(options) - set(offered))
    if unknown:
        raise ConfigError(
            f"{name} has no option {', '.join(unknown)}; it has {', '.join(offered) or 'none'}."
        )
    root, out = Path(root), Path(out)
    if out.suffix.lower() not in SUFFIXES:
        raise ManifestError(f"{out} is no table's name; let it end in .csv, .tsv or .parquet.")
    if not root.is_dir():
        raise ManifestError(f"{root} is not a folder; name the one that {DATASETS[name]} is in.")
    work = out.with_name(f"{out.stem}_videos")
    return finish(read(root, work, **options), out, work, show)
