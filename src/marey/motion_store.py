"""Motion maps of a corpus: computed once, kept beside the run, shared by runs."""

from __future__ import annotations

from pathlib import Path

from marey.files import identity
from marey.motion import MotionMaps, MotionSettings, video_motion


class MotionStore:
    """A folder with one small file per video, written when it is first asked for.

    Args:
        folder: made where it does not exist. Files of other settings may lie there too.
        settings: how motion is computed.
    """

    def __init__(self, folder: Path, settings: MotionSettings) -> None:
        self.folder, self.settings = folder, settings

    def of(self, video: Path) -> MotionMaps:
        """The motion of a video. Raises VideoError, StorageError."""
        path = self._path(video)
        if path.exists():
            return MotionMaps.load(path)
        maps = video_motion(video, self.settings)
        maps.save(path)
        return maps

    def _path(self, video: Path) -> Path:
        return self.folder / f"{identity(video, self.settings)}.npz"
