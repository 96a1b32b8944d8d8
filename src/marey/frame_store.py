"""Decoded frames of a corpus, for trainings of many epochs on videos that are small.

Decoding is most of a step where the network is small. Kept frames are one uncompressed file per
video, read through the page cache.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from marey.files import READING_ARRAYS, identity, replacing
from marey.types import U8, VideoInfo
from marey.video import stream

CHUNK = 64  # frames decoded at a time


class FrameStore:
    """A folder with the frames of each video, written when they are first asked for.

    Args:
        folder: made where it does not exist.
        size: short side of the kept frames in pixels; frames are never enlarged.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size

    def of(self, info: VideoInfo) -> U8:
        """(N, H, W, 3) uint8 frames of a video, mapped from the disk.

        Raises VideoError where it cannot be decoded to its end, StorageError where there is no
        room.
        """
        path = self.folder / f"{identity(info.path, self.size)}.npy"
        if not path.exists():
            self._write(path, info)
        with READING_ARRAYS:
            frames: U8 = np.load(path, mmap_mode="r")
        return frames

    def _write(self, path: Path, info: VideoInfo) -> None:
        parts = stream(info.path, size=self.size, chunk=CHUNK, info=info)
        first = next(parts).pixels
        header = {
            "descr": "|u1",
            "fortran_order": False,
            "shape": (info.frames, *first.shape[1:]),
        }
        with replacing(path) as draft, draft.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            first.tofile(file)
            for part in parts:
                part.pixels.tofile(file)
