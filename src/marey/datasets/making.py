"""Videos from pictures, and short videos from long ones."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from marey.errors import VideoError
from marey.types import U8, VideoInfo
from marey.video import VideoWriter, probe, read

FPS = 25.0
"""Rate of the videos made from pictures, which tell none."""

_CHUNK = 64


def from_jpegs(pictures: Iterable[bytes], source: str, path: Path) -> None:
    """Writes JPEG pictures of one size as a video of 25 frames per second (H.264, CRF 18).

    source: what the pictures are called in errors.
    Raises VideoError for a damaged picture, for other sizes and for no picture at all,
    StorageError where there is no room.
    """
    with ExitStack() as stack:
        video: VideoWriter | None = None
        for number, data in enumerate(pictures, 1):
            frame = _decode(data, f"picture {number} of {source}")
            if video is None:
                height, width = frame.shape[:2]
                video = stack.enter_context(VideoWriter(path, FPS, height, width))
            if frame.shape != (video.height, video.width, 3):
                raise VideoError(
                    f"picture {number} of {source} has {frame.shape[1]} x {frame.shape[0]} pixels, "
                    f"the first {video.width} x {video.height}; download the set again."
                )
            video.write(frame)
        if video is None:
            raise VideoError(f"{source} holds no pictures; download the set again.")


def cut(source: Path, start: float, frames: int, path: Path) -> None:
    """Writes a part of a video at 640 x 360 pixels and 25 frames per second, as FineGym is used.

    start: seconds.  frames: how many; fewer where the video ends before.
    Raises VideoError for a video that cannot be read or ends before `start`, StorageError where
    there is no room.
    """
    info = _probe(source)
    times = start + np.arange(frames) / FPS
    # the nearest frame
    index = np.searchsorted(info.seconds, times + 0.5 / info.fps, side="right") - 1
    index = index[times < info.seconds[-1] + 1 / info.fps]
    if not len(index):
        raise VideoError(
            f"{source} ends after {info.seconds[-1]:.0f} s, before {path.stem}; download it again."
        )
    with VideoWriter(path, FPS, 360, 640) as video:
        for first in range(0, len(index), _CHUNK):
            chunk = index[first : first + _CHUNK]
            video.write(read(source, chunk, size=(360, 640), info=info).pixels)


@lru_cache(maxsize=8)
def _probe(source: Path) -> VideoInfo:
    """Recordings last hours and hold many events: their frames are listed once."""
    return probe(source)


def _decode(data: bytes, name: str) -> U8:
    """(H, W, 3) RGB pixels of a JPEG."""
    # OpenCV 4 paints what a cut-off picture lacks in grey, without a word: look for its end marker
    frame = None
    if b"\xff\xd9" in data:
        with suppress(cv2.error):  # what it says of other bytes, where it does not return None
            frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if frame is None:
        raise VideoError(f"{name} is damaged; download the set again.")
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
