"""Graphs of frozen stages, kept between runs: tracing a network takes seconds, reading it does not.

They lie in `compiled` of the cache folder, one folder for each network and size of pictures, and
may be deleted at any time.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from torch import Tensor

from marey import __version__
from marey.errors import StorageError
from marey.files import replacing_folder, storing
from marey.models.frozen import FrozenStages
from marey.models.sources import cache_folder
from marey.models.weights import digest

if TYPE_CHECKING:
    import openvino

_log = logging.getLogger(__name__)

_ROOM = 1 << 30
"""Bytes that all of them may take; the longest unused go first."""


def place(stages: FrozenStages, batch: Tensor) -> Path:
    """The folder for these stages and pictures of this shape; it need not be there."""
    weights = {name: t for name, t in stages.state_dict().items() if not t.is_meta}
    makers = (__version__, version("torch"), version("openvino"))
    about = (makers, repr(stages), stages.needed, stages.exact, tuple(batch.shape))
    return cache_folder() / "compiled" / digest(weights, repr(about))[:24]


def read(folder: Path, core: openvino.Core) -> list[openvino.Model]:
    """The graphs kept there; none where nothing is kept, or nothing that can be read."""
    try:
        graphs = [core.read_model(path) for path in sorted(folder.glob("*.xml"))]
        if graphs:
            os.utime(folder)
    except (OSError, RuntimeError) as error:  # OpenVINO's
        _log.info("what is kept in %s cannot be read (%s) and is made anew", folder, error)
        return []
    return graphs


def keep(graphs: Sequence[openvino.Model], folder: Path) -> None:
    """Writes them there, in place of what was there, and makes room. Where that is not possible
    it says so and goes on: the next run traces the network again."""
    import openvino

    try:
        with storing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.parent / ".lock"), replacing_folder(folder) as draft:
                for i, graph in enumerate(graphs):
                    openvino.serialize(graph, draft / f"{i}.xml", draft / f"{i}.bin")
                _make_room(folder.parent, sum(file.stat().st_size for file in draft.iterdir()))
    except StorageError as error:
        _log.warning("the compiled network is not kept for other runs: %s", error)
    except RuntimeError as error:  # OpenVINO's, which says "iostream error" of a full disk
        _log.warning(
            "the compiled network is not kept for other runs: %s could not be written (%s); look "
            "for room on the disk.",
            folder,
            error,
        )


def _make_room(parent: Path, taken: int) -> None:
    """Deletes what was not used for the longest time, until no more is kept than may be."""
    kept = [folder for folder in parent.iterdir() if folder.name[0] != "."]
    for folder in sorted(kept, key=lambda folder: folder.stat().st_mtime, reverse=True):
        taken += sum(file.stat().st_size for file in folder.iterdir())
        if taken > _ROOM:
            shutil.rmtree(folder, ignore_errors=True)
