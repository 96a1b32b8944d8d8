"""Motion boundaries: where a video moves against its own surroundings (MCL, section 3.1).

Li, Zhang, Qiu, Yao, Liu, Mei: Motion-Focused Contrastive Learning of Video Representations, ICCV
2021, arXiv 2201.04029. For each component of the flow, the x- and y-derivatives (3x3 Prewitt
kernels, not normalised, the edge pixel repeats) are summed over a window of frames; their magnitude
is the motion boundary. Constant motion, as of a panning camera, has no derivative and cancels.

`frame_maps`, `clip_scores` and `st_maps` are the paper's three uses of it, on flow of any size;
they agree with the authors' release. `MotionMaps` is what is kept of a video.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

from marey import video
from marey.errors import ConfigError, ShapeError, StorageError, VideoError
from marey.files import READING_ARRAYS, replacing
from marey.flow import LARGEST, SIZE, Engine, flow
from marey.types import F32, I64, Flow

Box = tuple[float, float, float, float]

VERSION = 2

_MAP = 7  # cells of a frame map along each side
_FINE = 56  # side of the flow that maps and scores are taken from: agrees with 224 to 0.01
_KEPT = 42  # side of the flow that is kept
_BORDER = _FINE * 8 // 224  # the paper zeroes 8 pixels of 224
_HEIGHT = 240  # flow is kept in pixels of a video of this short side, UCF101's
_STEPS = 255 / (2 * LARGEST)  # the release counts flow in 8-bit steps between -20 and 20 pixels
_CELL = 8  # pixels across a cell from which an ST map is averaged

# What reading a damaged or foreign file can raise, in NumPy, in the archive and here.
_NOT_OURS = (EOFError, ValueError, KeyError, TypeError, BadZipFile, zlib.error, ShapeError)

# Kept flow is one signed byte, the square root of its size: fine steps where motion is small.
_CODE = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float32) / 127
_DECODED: F32 = np.asarray(LARGEST * _CODE * np.abs(_CODE), np.float32)


def boundaries(flow: NDArray[Any]) -> F32:
    """Motion boundary of each component of (summed) flow: (..., H, W) to (..., H, W)."""
    padded = np.pad(flow, [(0, 0)] * (flow.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    down = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    across = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    dx = down[..., 2:] - down[..., :-2]
    dy = across[..., 2:, :] - across[..., :-2, :]
    magnitude: F32 = np.sqrt(dx * dx + dy * dy, dtype=np.float32)
    return magnitude


def frame_maps(vectors: NDArray[Any], window: int = 8, *, border: int = 8, cells: int = 7) -> F32:
    """Frame maps: where there is motion around each frame.

    vectors: (T, 2, H, W) flow, u then v; H and W divisible by `cells`.
    window: fields around the frame: `window // 2 - 1` before its own and `window // 2` after; at
        the ends of the video the nearest whole window, in a shorter video all fields.
    border: pixels at each edge that count as 0: flow is unsure there.

    Returns (T, cells, cells), mean of the boundaries of u and v. Raises ShapeError.
    """
    _check(vectors)
    maps = _blocks(_windows(vectors, window, border), cells)
    return np.asarray(maps[_around(len(vectors), window, len(vectors))])


def clip_scores(vectors: NDArray[Any], window: int = 32, *, border: int = 8) -> F32:
    """How much motion a clip from each possible start has.

    vectors: (T, 2, H, W) flow.  window: fields of a clip.  border: as for `frame_maps`.

    Returns (max(T - window + 1, 1),), the mean over the image of the boundaries of u and v; the
    only score of a shorter video is of all its fields. Raises ShapeError.
    """
    _check(vectors)
    return np.asarray(_windows(vectors, window, border).mean((1, 2)), np.float32)


def st_maps(vectors: NDArray[Any], groups: int = 4, *, cells: int = 7) -> F32:
    """ST map of a clip: where and when it moves, to be compared with the network's gradient.

    vectors: (T, 2, H, W) flow of the clip's frames, cropped, resized and flipped as its pixels.
    groups: S, parts of T // S consecutive fields; a remainder at the end is left out.

    Returns (S, cells, cells), the sum of the boundaries of u and v. Raises ShapeError.
    """
    _check(vectors)
    return _blocks(boundaries(_group_sums(vectors, groups)).sum(1), cells)


@dataclass(frozen=True, slots=True)
class MotionMaps:
    """What is kept of the motion of a video of N frames: 3.6 kB a frame, about 1.2 kB on disk.

    maps: (N, 7, 7) float16 frame maps; the last frame, from which no flow leads on, has the last
        whole window like its neighbours.
    scores: (max(N - clip + 1, 1),) float32 clip score of every start; the last start, whose clip
        is one field short, has the score of the one before.
    grid: (N - 1, 2, 42, 42) int8, flow averaged to 42 x 42 over the frame: byte b is
        sign(b) (b / 127)^2 * 20 pixels of a video whose short side is 240.
    clip: frames that a clip spans.
    """

    maps: NDArray[np.float16]
    scores: F32
    grid: NDArray[np.int8]
    clip: int

    def __post_init__(self) -> None:
        n = len(self.maps)
        shapes = (self.maps.shape, self.scores.shape, self.grid.shape)
        want = ((n, _MAP, _MAP), (max(n - self.clip + 1, 1),), (n - 1, 2, _KEPT, _KEPT))
        if n < 2 or shapes != want:
            raise ShapeError(f"maps, scores and grid of a video must be {want}, not {shapes}")

    @property
    def frames(self) -> int:
        """Number of frames, N."""
        return len(self.maps)

    @property
    def nbytes(self) -> int:
        """Size in bytes as `save` writes it."""
        file = io.BytesIO()
        self._write(file)
        return file.getbuffer().nbytes

    def flow(self, index: I64) -> F32:
        """(T, 2, 42, 42) flow from the frames `index` on, in pixels of a video of short side 240.

        From the last frame no flow leads on; it has that of the frame before.
        """
        return _DECODED[self.grid[np.minimum(index, self.frames - 2)].view(np.uint8)]

    def clip_map(self, index: I64) -> F32:
        """(7, 7) mean frame map of the frames `index` (T,)."""
        return np.asarray(self.maps[index].mean(0, dtype=np.float32))

    def st_map(self, index: I64, box: Box, flip: bool, *, groups: int = 4, cells: int = 7) -> F32:
        """ST map of the frames `index` (T,) under the crop `box` and the flip of a `Draw`.

        Returns (groups, cells, cells) in the release's units: flow in steps of 40 / 255 pixels
        of a video of short side 240, derivatives at 224 pixels, so that the softmax over the sums
        of slices is as sharp as the paper's. On real videos it correlates to 0.98 with the map
        taken from the flow itself. Raises ShapeError.
        """
        side = _CELL * cells
        top, left, height, width = box
        step_y, step_x = height * _KEPT / side, width * _KEPT / side
        x, y = left * _KEPT + (step_x - 1) / 2, top * _KEPT + (step_y - 1) / 2
        place = np.array([[step_x, 0, x], [0, step_y, y]], np.float32)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        sums = _group_sums(self.flow(index), groups).reshape(-1, _KEPT, _KEPT)
        cropped = np.stack(
            [
                cv2.warpAffine(s, place, (side, side), flags=how, borderMode=cv2.BORDER_REPLICATE)
                for s in sums
            ]
        ).reshape(groups, 2, side, side)
        if flip:  # u changes its sign too, which no magnitude sees
            cropped = cropped[..., ::-1]
        # the summed flow is already in groups: one field each
        return st_maps(cropped, groups, cells=cells) * np.float32(_STEPS * side / 224)

    def save(self, path: str | PathLike[str]) -> None:
        """Write an .npz file, whole or not at all. Raises StorageError."""
        with replacing(Path(path)) as draft, draft.open("wb") as file:
            self._write(file)

    def _write(self, file: IO[bytes]) -> None:
        np.savez_compressed(
            file,
            version=VERSION,
            clip=self.clip,
            maps=self.maps,
            scores=self.scores,
            grid=self.grid,
        )

    @classmethod
    def load(cls, path: str | PathLike[str]) -> MotionMaps:
        """Read what `save` wrote. Raises StorageError for anything else."""
        again = "delete it, and it will be computed again"
        try:
            with (
                Path(path).open("rb") as file,
                READING_ARRAYS,
                np.load(file, allow_pickle=False) as data,
            ):
                if int(data["version"]) != VERSION:
                    raise StorageError(f"{path} is from another version of Marey; {again}")
                return cls(data["maps"], data["scores"], data["grid"], int(data["clip"]))
        except (OSError, *_NOT_OURS) as error:
            raise StorageError(f"{path} holds no motion maps ({error}); {again}") from error


@dataclass(frozen=True, slots=True)
class MotionSettings:
    """How the motion of a video is computed.

    engine: how flow is computed (`marey.flow`).
    window: fields of a frame map (the paper: 8; on Kinetics 4).
    clip: frames that a clip spans, clip length times stride; not less than window.
    """

    engine: Engine = "dis"
    window: int = 8
    clip: int = 32


def motion_maps(flows: Iterable[Flow], *, window: int = 8, clip: int = 32) -> MotionMaps:
    """What is to be kept of a video's flow, in one pass and bounded memory.

    flows: consecutive fields, in any chunks.
    window: fields of a frame map (the paper: 8; on Kinetics 4).
    clip: frames that a clip spans, clip length times stride; not less than window.

    Raises ShapeError where there is no flow, ConfigError where the window is longer than a clip.
    """
    if not 1 <= window <= clip:
        raise ConfigError(f"a window of {window} fields must lie within a clip of {clip} frames")
    maps, scores, grids = [], [], []
    seen, tail = 0, np.empty((0, 2, _FINE, _FINE), np.float32)
    for part in flows:
        fine = np.stack([_resize(field, _FINE) for field in part.vectors])
        grids.append(_encode(np.stack([_resize(field, _KEPT) for field in part.vectors])))
        near = np.concatenate([tail, fine])
        tail, seen = near[-clip:], seen + len(fine)
        # the windows that end in this chunk
        if seen >= window:
            recent = near[-(len(fine) + window - 1) :]
            maps.append(_blocks(_windows(recent, window, _BORDER), _MAP))
        if seen >= clip:
            recent = near[-(len(fine) + clip - 1) :]
            scores.append(_windows(recent, clip, _BORDER).mean((1, 2)))
    if not seen:
        raise ShapeError("motion needs at least one field of flow, of two frames")
    if seen < window:
        maps.append(_blocks(_windows(tail, window, _BORDER), _MAP))
    if seen < clip:
        scores.append(_windows(tail, clip, _BORDER).mean((1, 2)))
    frame = np.concatenate(maps)[_around(seen + 1, window, seen)]
    start = np.concatenate(scores)
    starts = np.minimum(np.arange(max(seen + 2 - clip, 1)), len(start) - 1)
    return MotionMaps(frame.astype(np.float16), start[starts], np.concatenate(grids), clip)


def video_motion(
    path: str | PathLike[str],
    settings: MotionSettings | None = None,
    *,
    size: int = SIZE,
    threads: int = 1,
) -> MotionMaps:
    """`motion_maps` of a file: decoded once, small, as a stream.

    Raises VideoError for a file that cannot be read, has a single frame or frames too small for
    flow, ConfigError as `flow` and `motion_maps` do.
    """
    settings = settings or MotionSettings()
    flows = flow(video.stream(path, size=size), settings.engine, size=size, threads=threads)
    try:
        return motion_maps(flows, window=settings.window, clip=settings.clip)
    except ShapeError as error:
        raise VideoError(f"{path} has no motion to be seen: {error}") from error


def _check(vectors: NDArray[Any]) -> None:
    if vectors.ndim != 4 or vectors.shape[1] != 2 or not len(vectors):
        raise ShapeError(f"flow must be (T, 2, H, W) with T >= 1, not {vectors.shape}")


def _windows(vectors: NDArray[Any], window: int, border: int) -> F32:
    """Mean boundary of u and v for every whole window: (n, H, W); over all fields if T < window."""
    window = min(window, len(vectors))
    total = np.cumsum(vectors, 0, dtype=np.float64)
    sums = total[window - 1 :].copy()
    sums[1:] -= total[: len(sums) - 1]
    maps: F32 = boundaries(sums.astype(np.float32)).mean(1)
    if border:
        maps[:, :border] = maps[:, -border:] = 0
        maps[..., :border] = maps[..., -border:] = 0
    return maps


def _around(count: int, window: int, fields: int) -> I64:
    """(count,) first field of the window around each frame, kept within the fields."""
    first = np.arange(count) - window // 2 + 1
    return np.clip(first, 0, max(fields - window, 0))


def _group_sums(vectors: NDArray[Any], groups: int) -> F32:
    each = len(vectors) // groups
    if not each:
        raise ShapeError(f"{len(vectors)} fields of flow cannot make {groups} groups")
    parts = vectors[: each * groups].reshape(groups, each, *vectors.shape[1:])
    return np.asarray(parts.sum(1, dtype=np.float32))


def _blocks(maps: F32, cells: int) -> F32:
    """Mean over blocks: (n, H, W) to (n, cells, cells)."""
    n, height, width = maps.shape
    if height % cells or width % cells:
        raise ShapeError(f"maps of {height} x {width} cannot be cut into {cells} x {cells} cells")
    blocks = maps.reshape(n, cells, height // cells, cells, width // cells)
    return np.asarray(blocks.mean((2, 4)), np.float32)


def _resize(field: F32, side: int) -> F32:
    """(2, H, W) flow to (2, side, side), in pixels of a video whose short side is 240."""
    small = [cv2.resize(c, (side, side), interpolation=cv2.INTER_AREA) for c in field]
    return np.stack(small) * np.float32(_HEIGHT / min(field.shape[1:]))


def _encode(flow: F32) -> NDArray[np.int8]:
    size = np.sqrt(np.minimum(np.abs(flow) / LARGEST, 1))
    return np.asarray(np.rint(np.sign(flow) * size * 127), np.int8)
