"""Motion maps of a corpus: computed once, kept beside the run, shared by runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from marey.errors import VideoError
from marey.files import identity
from marey.manifest import Manifest
from marey.motion import MotionMaps, MotionSettings, video_motion
from marey.progress import bar

LeftOut = tuple[str, str]


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

    def fill(self, videos: Manifest, show: bool = False) -> list[LeftOut]:
        """Computes what is not there yet, on all cores; a stopped call goes on where it was.

        Returns the videos that could not be read. Raises StorageError.
        """
        left_out: list[LeftOut] = []
        with (
            ThreadPoolExecutor(torch.get_num_threads()) as pool,
            bar("Looking for motion", len(videos), show) as advance,
        ):
            work = [(entry, pool.submit(self._fill, entry.path)) for entry in videos]
            try:
                for entry, done in work:
                    try:
                        done.result()
                    except VideoError as error:
                        left_out.append((entry.name, str(error)))
                    advance(note=entry.name)
            finally:
                for _, done in work:
                    done.cancel()
        return left_out

    def _fill(self, video: Path) -> None:
        if not self._path(video).exists():
            self.of(video)

    def _path(self, video: Path) -> Path:
        return self.folder / f"{identity(video, self.settings)}.npz"
