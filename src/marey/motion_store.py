"""Motion maps of a corpus: computed once, kept beside the run, shared by runs."""

from __future__ import annotations

from pathlib import Path

from marey.files import identity
from marey.motion import MotionMaps, MotionSettings, video_motion

ROOM = 256 * 2**20
"""Bytes of motion that a store holds in memory, 50 minutes of video or so."""


class MotionStore:
    """A folder with one small file per video, written when it is first asked for.

    What is read once stays in memory while there is room: reading unpacks it, which is half of what
    a small step of MCL waits for. Videos come in another order in every epoch, so that dropping
    the oldest for the newest would only cost time.

    Args:
        folder: made where it does not exist. Files of other settings may lie there too.
        settings: how motion is computed.
    """

    def __init__(self, folder: Path, settings: MotionSettings) -> None:
        self.folder, self.settings = folder, settings
        self._held: dict[Path, MotionMaps] = {}
        self._room = ROOM

    def __reduce__(self) -> tuple[type[MotionStore], tuple[Path, MotionSettings]]:
        return MotionStore, (self.folder, self.settings)  # what is held is not sent to processes

    def of(self, video: Path) -> MotionMaps:
        """The motion of a video. Raises VideoError, StorageError."""
        path = self._path(video)
        if path in self._held:
            return self._held[path]
        if path.exists():
            maps = MotionMaps.load(path)
        else:
            maps = video_motion(video, self.settings)
            maps.save(path)
        size = maps.maps.nbytes + maps.scores.nbytes + maps.grid.nbytes
        if size <= self._room:
            self._room -= size
            self._held[path] = maps
        return maps

    def _path(self, video: Path) -> Path:
        return self.folder / f"{identity(video, self.settings)}.npz"
