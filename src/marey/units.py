"""What a network looks at: the frames of one row, the rows that it sees at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from marey.types import I64, U8, VideoInfo
from marey.video import stream


def in_units(info: VideoInfo, units: I64, size: int, chunk: int) -> Iterator[tuple[U8, I64]]:
    """Frames (M, H, W, 3) and, for at most `chunk` units in order, their places (n, L) among them.

    units: (N, L) frame numbers, no row ending before the row before. Frames that several units
        share are decoded once; only those that a coming unit still needs are kept.
    size: short side, in pixels, to decode at.
    chunk: frames decoded, and units yielded, at a time.

    Raises VideoError where the video cannot be decoded to its end.
    """
    done, held = 0, 0
    buffer: list[U8] = []
    last = units.max(1)
    for frames in stream(info.path, size=size, chunk=chunk, info=info):
        buffer.append(frames.pixels)
        have = int(frames.index[-1]) + 1
        ready = int(np.searchsorted(last, have))
        while done < ready:
            stop = min(done + chunk, ready)
            pixels = buffer[0] if len(buffer) == 1 else np.concatenate(buffer)
            wanted = units[done:stop] - held
            first = int(wanted.min())
            yield pixels[first : int(wanted.max()) + 1], wanted - first
            done = stop
            low = int(units[done].min()) if done < len(units) else have
            buffer, held = [pixels[low - held :]], low


def gather(frames: Tensor, places: I64) -> Tensor:
    """frames[places], (N, L, ...) of (M, ...); a view where the places (N, L) are evenly spaced."""
    first = places[0, 0]
    down = places[1, 0] - first if len(places) > 1 else 0
    right = places[0, 1] - first if places.shape[1] > 1 else 0
    even = first + down * np.arange(len(places))[:, None] + right * np.arange(places.shape[1])
    if min(down, right) < 0 or not np.array_equal(places, even):
        return frames[places]
    step, *inner = frames.stride()
    strides = (int(down) * step, int(right) * step, *inner)
    return frames[int(first) :].as_strided((*places.shape, *frames.shape[1:]), strides)


def windows(rows: int, length: int) -> I64:
    """(K,) the first rows of windows of `length` rows, each a quarter of one after the last.

    The last ends with the rows, and so may lie nearer. Fewer rows than `length` are one window.
    """
    last = max(rows - length, 0)
    return np.append(np.arange(0, last, max(1, length // 4)), last).astype(np.int64)


def one_after_another(units: int, length: int) -> I64:
    """(units, length) places of units that share no frame and lie one after another."""
    return np.arange(units * length, dtype=np.int64).reshape(units, length)
