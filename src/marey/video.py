"""Files to frames, and back: `probe`, `read`, `stream`, `VideoWriter`, `write`.

A frame's number is its place in display order, whatever the container says about rates. `probe`
takes the frames' times from the packets, without decoding, where a packet is exactly one frame and
carries its time: H.264, HEVC, VP9, AV1, ProRes or JPEG in MP4, MOV or Matroska. Anything else (AVI,
MPEG, transport and raw streams, GIF, times that are missing or repeat) is decoded once to be
probed and always read from its start: slower, and just as exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import ArrayLike

from marey.errors import ShapeError, VideoError
from marey.types import I64, U8, Frames, VideoInfo
from marey.video_source import Source, Table
from marey.video_writer import VideoWriter, write

__all__ = ["VideoWriter", "probe", "read", "stream", "write"]

Size = int | tuple[int, int] | None


def probe(path: str | PathLike[str]) -> VideoInfo:
    """Size and exact frame times of a video.

    Height and width are as displayed, after the rotation or mirroring that the file asks for;
    pixels that are not square are not stretched. Frames without usable times (raw streams) are
    spaced by the file's rate.

    An MP4 or MOV tells how many frames it should hold, so one that was cut off (a copy that
    stopped) raises here, as does any file that ends inside a frame. Matroska and transport streams
    do not tell: what is there is the video. Damage inside a frame shows when `read` decodes it.

    Raises VideoError for a file that is missing, empty, not a video, or cut off.
    """
    with Source(Path(path)) as source:
        return source.table()


def read(
    path: str | PathLike[str],
    index: ArrayLike | None = None,
    *,
    size: Size = None,
    info: VideoInfo | None = None,
) -> Frames:
    """Decode chosen frames, each of them once, seeking where that saves decoding.

    index: (T,) frame numbers in any order, repeats allowed; None = all frames.
    size: None = as displayed; an int = pixels of the short side, keeping the aspect ratio and
        never enlarging; (height, width) = exactly that.
    info: what `probe` returned for this path, to save asking again.
    Returns pixels (T, H, W, 3) uint8 RGB in the order of `index`.
    Raises VideoError for a file that cannot be read, a number that the video does not have, or
    frames that cannot be decoded; ShapeError for an index or size that makes no sense.
    """
    with Source(Path(path)) as source:
        table = _table(source, info)
        numbers = _numbers(table, index)
        wanted, place = np.unique(numbers, return_inverse=True)
        scaler = _Scaler(table, size)
        pixels = np.empty((len(wanted), *scaler.shape, 3), np.uint8)
        for row, frame in source.frames(table, wanted):
            pixels[row] = scaler(frame)
    if not np.array_equal(wanted, numbers):
        pixels = pixels[place]
    return Frames(pixels, numbers, table.seconds[numbers])


def stream(
    path: str | PathLike[str],
    *,
    size: Size = None,
    chunk: int = 64,
    info: VideoInfo | None = None,
) -> Iterator[Frames]:
    """Decode a whole video in order, `chunk` frames at a time, in constant memory.

    size, info and errors as for `read`, raised when the first chunk is asked for, or the one that
    cannot be decoded; the last chunk may be shorter.
    """
    if chunk < 1:
        raise ShapeError(f"chunk must be at least 1 frame, not {chunk}")
    with Source(Path(path)) as source:
        table = _table(source, info)
        scaler = _Scaler(table, size)
        frames = source.frames(table, np.arange(table.frames))
        for first in range(0, table.frames, chunk):
            index = np.arange(first, min(first + chunk, table.frames))
            pixels = np.empty((len(index), *scaler.shape, 3), np.uint8)
            for _ in index:
                number, frame = next(frames)
                if not index[0] <= number <= index[-1]:
                    raise VideoError(
                        f"the frames of {path} do not leave the decoder in order; "
                        "re-encode it to read it as a stream."
                    )
                pixels[number - first] = scaler(frame)
            yield Frames(pixels, index, table.seconds[index])


class _Scaler:
    """Decoded frames to RGB pixels, resized inside the colour conversion and turned upright."""

    def __init__(self, table: Table, size: Size) -> None:
        self.turn = table.turn
        self.shape = _shape(table.height, table.width, size)
        self.height, self.width = self.shape if self.turn[0] else self.shape[::-1]
        self.reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> U8:
        """(H, W, 3) as displayed, a view."""
        # One thread: swscale's own pool costs more than it brings at these sizes.
        rgb = self.reformatter.reformat(frame, self.width, self.height, "rgb24", threads=1)
        plane = rgb.planes[0]
        rows: U8 = np.frombuffer(memoryview(plane), np.uint8).reshape(self.height, plane.line_size)
        pixels = rows[:, : 3 * self.width].reshape(self.height, self.width, 3)
        a, b, c, d = self.turn
        return pixels[::d, ::a] if a else pixels.transpose(1, 0, 2)[::b, ::c]


def _table(source: Source, info: VideoInfo | None) -> Table:
    if isinstance(info, Table) and info.path == source.path:
        return info
    return source.table()


def _numbers(table: Table, index: ArrayLike | None) -> I64:
    if index is None:
        return np.arange(table.frames)
    numbers = np.asarray(index)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise ShapeError(
            f"index must be (T,) frame numbers, not {numbers.dtype} of shape {numbers.shape}"
        )
    outside = numbers[(numbers < 0) | (numbers >= table.frames)]
    if len(outside):
        raise VideoError(
            f"{table.path} has no frame {outside[0]}: its {table.frames} frames are numbered "
            f"0 to {table.frames - 1}."
        )
    return numbers.astype(np.int64)


def _shape(height: int, width: int, size: Size) -> tuple[int, int]:
    """(H, W) of the output for a video shown at height x width."""
    if size is None:
        return height, width
    if min(size if isinstance(size, tuple) else (size,)) < 1:
        raise ShapeError(f"size must be at least 1 pixel, not {size}")
    if isinstance(size, tuple):
        return size
    scale = min(1.0, size / min(height, width))
    return round(height * scale), round(width * scale)
