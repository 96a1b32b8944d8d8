"""Frames to H.264 files that every browser and player shows."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from itertools import pairwise
from os import PathLike
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from numpy.typing import ArrayLike

from marey.errors import ShapeError, VideoError
from marey.files import replacing, storing
from marey.types import U8

# A frame lasts a whole number of ticks at 24, 25, 30, 50, 60 and 30000/1001 frames per second.
_TICK = Fraction(1, 90_000)


class VideoWriter:
    """Writes an MP4 (H.264, yuv420p, BT.709, index in front) frame by frame.

    The file appears under its name, whole, when the writer is closed. Until then, and for good
    where something fails, whatever was there before stays.

        with VideoWriter("out.mp4", fps=25, height=64, width=96) as video:
            video.write(frames)

    path: the file to write.
    fps: frames per second.
    height, width: of the frames, in pixels. An odd side gains a row or column that repeats its
        last: the format has even sides only.
    Raises VideoError for a rate or size that no video has, StorageError where it cannot be written.
    """

    def __init__(self, path: str | PathLike[str], fps: float, height: int, width: int) -> None:
        if not (0 < fps <= 1000 and height > 0 and width > 0):
            raise VideoError(
                f"{path} cannot have {width} x {height} pixels and {fps} frames per second; "
                "give positive numbers, and at most 1000 frames per second."
            )
        self.path = Path(path)
        self.fps, self.height, self.width = fps, height, width
        self._last_tick, self._next = -1, 0.0
        self._stack = ExitStack()
        draft = self._stack.enter_context(replacing(self.path))
        with storing(self.path):
            self._container = av.open(
                str(draft.absolute()), "w", "mp4", container_options={"movflags": "faststart"}
            )
        self._stack.callback(self._container.close)
        self._track = self._container.add_stream(
            "libx264",
            rate=Fraction(fps).limit_denominator(1001),
            # without the macroblock tree, which makes another file every few times (AVX-512)
            options={"preset": "veryfast", "crf": "20", "g": "60", "x264-params": "mbtree=0"},
        )
        context = self._track.codec_context
        context.width, context.height = width + width % 2, height + height % 2
        context.pix_fmt = "yuv420p"
        context.time_base = _TICK
        context.colorspace = Colorspace.ITU709
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        context.color_range = ColorRange.MPEG
        self._reformatter = VideoReformatter()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._stack.__exit__(kind, error, trace)

    def write(self, pixels: U8, seconds: ArrayLike | None = None) -> None:
        """Append frames.

        pixels: (H, W, 3) or (T, H, W, 3) uint8 RGB.
        seconds: () or (T,) times of the frames, increasing; None = 1 / fps after the last.
        Raises ShapeError for frames of another size or type, VideoError for times that do not
        increase, StorageError where there is no room.
        """
        frames = pixels[None] if pixels.ndim == 3 else pixels
        if frames.shape[1:] != (self.height, self.width, 3) or frames.dtype != np.uint8:
            raise ShapeError(
                f"{self.path} takes uint8 frames of {(self.height, self.width, 3)}, "
                f"not {pixels.dtype} of {pixels.shape}"
            )
        margin = ((0, self.height % 2), (0, self.width % 2), (0, 0))
        for frame, tick in zip(frames, self._times(len(frames), seconds), strict=True):
            picture = self._reformatter.reformat(
                VideoFrame.from_ndarray(np.pad(frame, margin, "edge")),
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                threads=1,
            )
            picture.pts, picture.time_base = tick, _TICK
            picture.duration = round(1 / self.fps / _TICK)
            with storing(self.path):
                self._container.mux(self._track.encode(picture))

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises VideoError where no frame was written, StorageError where there is no room.
        """
        with self._stack:
            if self._last_tick < 0:
                raise VideoError(f"{self.path} was not written, as it has no frames; write some.")
            self._container.mux(self._track.encode())

    def _times(self, count: int, seconds: ArrayLike | None) -> list[int]:
        """Ticks of the next `count` frames."""
        if seconds is None:
            times = self._next + np.arange(count) / self.fps
        else:
            times = np.atleast_1d(np.asarray(seconds, np.float64))
        if times.shape != (count,):
            raise ShapeError(f"{self.path} needs {count} times, not {times.shape}")
        ticks: list[int] = np.rint(times / float(_TICK)).astype(np.int64).tolist()
        if any(b <= a for a, b in pairwise([self._last_tick, *ticks])):
            raise VideoError(f"the frames of {self.path} must have times that increase from 0 on.")
        if count:
            self._last_tick, self._next = ticks[-1], times[-1] + 1 / self.fps
        return ticks


def write(path: str | PathLike[str], pixels: U8, fps: float) -> None:
    """Write frames (T, H, W, 3) uint8 RGB as an MP4; errors as for `VideoWriter`."""
    if pixels.ndim != 4:
        raise ShapeError(f"pixels must be (T, H, W, 3), not {pixels.shape}")
    with VideoWriter(path, fps, pixels.shape[1], pixels.shape[2]) as video:
        video.write(pixels)
