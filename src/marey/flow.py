"""Dense optical flow between neighbouring frames, for the motion maps of MCL.

The paper (Li et al., ICCV 2021) takes TV-L1, 4 pairs a second. What the motion maps need of it is
where and when things move against the camera, and that survives at a short side of 80 pixels and
with far cheaper flow. Two things cheap flow does badly, and `_steady` puts right: on still, flat or
noisy ground it invents motion, where TV-L1 stays at rest.

Engines (`benchmarks/motion_agreement.py`: Spearman of 7x7 maps and clip scores with TV-L1's):

- `dis`, the default: dense inverse search, with small patches where something moves and with large
  ones where little does; more than 100 times TV-L1's speed;
- `farneback`: as near to TV-L1; loses what is small and fast;
- `tvl1`: the paper's, clipped to 20 pixels; needs opencv-contrib-python-headless;
- `difference`: no flow at all. u is the change of grey value, v is 0, and full contrast counts as
  20 pixels. Camera motion does not cancel in it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from marey.errors import ConfigError, ShapeError
from marey.types import F32, U8, Flow, Frames

Engine = Literal["dis", "farneback", "tvl1", "difference"]
Pair = Callable[[U8, U8], F32]

SIZE = 80
LARGEST = 20.0  # pixels; the paper clips there

_SMALLEST = 32  # side of a frame, in pixels: OpenCV's DIS crashes on thinner ones
_NOISE = 4.0  # grey levels by which pixels at rest differ, from coding and sensor
_CLEAR = 8.0  # grey levels by which pixels differ where something clearly moves
_WINDOW = 7  # side of the neighbourhood in which that is judged, in pixels
_SPARSE = 4  # the camera's motion is told by every 4th pixel in x and y


def flow(
    chunks: Iterable[Frames], engine: Engine = "dis", *, size: int = SIZE, threads: int = 1
) -> Iterator[Flow]:
    """Flow of a video as it is decoded: N frames give N - 1 fields.

    chunks: consecutive frames of one video, in order, as `marey.video.stream` yields them; ask it
        for `size` too, and the frames are small from the start.
    size: short side at which flow is computed; smaller frames stay as they are.
    threads: pairs worked on at a time. OpenCV lets go of the interpreter, so this pays up to the
        number of cores, unless the cores have videos of their own.

    Yields one Flow per chunk, vectors in pixels of the small frame; each begins with the step from
    the last frame of the chunk before. Raises ConfigError for an engine that is not there,
    ShapeError where frames change size or have a side of less than 16 pixels.
    """
    make = _maker(engine)
    if size < _SMALLEST or threads < 1:
        raise ConfigError(
            f"flow needs a short side of at least {_SMALLEST} pixels and one thread, "
            f"not {size} and {threads}"
        )
    local = threading.local()

    def step(first: U8, second: U8) -> F32:
        if not hasattr(local, "pair"):  # engines keep buffers: each thread needs its own
            local.pair = make()
        pair: Pair = local.pair
        return pair(first, second)

    previous: U8 | None = None
    before = -1
    with ThreadPoolExecutor(threads) as pool:
        run = pool.map if threads > 1 else map
        for chunk in chunks:
            grey = [_small_grey(frame, size) for frame in chunk.pixels]
            index = chunk.index
            if previous is not None:
                grey.insert(0, previous)
                index = np.concatenate([[before], index])
            if grey[0].shape != grey[-1].shape or min(grey[0].shape) < _SMALLEST:
                raise ShapeError(
                    f"flow needs frames of one size and at least {_SMALLEST} pixels, "
                    f"not {grey[0].shape} and {grey[-1].shape}"
                )
            previous, before = grey[-1], int(index[-1])
            if len(grey) > 1:
                fields = np.stack(list(run(step, grey[:-1], grey[1:])))
                vectors = np.ascontiguousarray(fields.transpose(0, 3, 1, 2))
                yield Flow(vectors, index[:-1])


def _maker(engine: str) -> Callable[[], Pair]:
    """What makes the function from two grey images (H, W) to flow (H, W, 2), one per thread."""
    if engine == "tvl1" and not hasattr(cv2, "optflow"):
        raise ConfigError(
            "flow 'tvl1' needs opencv-contrib-python-headless in place of "
            "opencv-python-headless; install it, or use 'dis'"
        )
    makers = {"dis": _dis, "farneback": _farneback, "tvl1": _tvl1, "difference": _difference}
    if engine not in makers:
        raise ConfigError(f"there is no flow '{engine}'; use {', '.join(get_args(Engine))}")
    return makers[engine]


def _dis() -> Pair:
    # Small patches see noise where little moves; large ones lose half the motion of small things.
    fine, coarse = _search(8), _search(16)  # with patches of 20 and more OpenCV may crash

    def pair(first: U8, second: U8) -> F32:
        flows = (search.calc(first, second, None) for search in (fine, coarse))
        return _steady(first, second, *flows)

    return pair


def _search(patch: int) -> Any:
    """Dense inverse search with patches of so many pixels, at half size."""
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(1)  # the preset's 2 does not see what is smaller than a third of a frame
    search.setPatchSize(patch)
    search.setPatchStride(patch // 2)
    return search


def _farneback() -> Pair:
    def pair(first: U8, second: U8) -> F32:
        # One coarser level and a single iteration: more of each changed the agreement with TV-L1 by
        # less than 0.005 and doubled the time. Smaller windows see noise where little moves.
        field = np.empty((*first.shape, 2), np.float32)
        cv2.calcOpticalFlowFarneback(first, second, field, 0.5, 1, 21, 1, 5, 1.1, 0)
        return _steady(first, second, field)

    return pair


def _tvl1() -> Pair:
    solver: Any = cv2.optflow.DualTVL1OpticalFlow_create()  # type: ignore[attr-defined]
    return lambda first, second: np.clip(solver.calc(first, second, None), -LARGEST, LARGEST)


def _difference() -> Pair:
    def pair(first: U8, second: U8) -> F32:
        change = second.astype(np.float32) - first
        return np.stack([change * (LARGEST / 255), np.zeros_like(change)], -1)

    return pair


def _steady(first: U8, second: U8, field: NDArray[Any], smooth: NDArray[Any] | None = None) -> F32:
    """Draw flow (H, W, 2) towards the camera's motion where that alone explains the images.

    The camera's motion is the median vector, or rest where moving the second image by it does not
    bring it clearly nearer to the first. With r the mean squared difference that is left around
    a pixel, the flow keeps r / (r + noise^2) of its distance from the camera's motion. Where there
    is a smoother flow too, r / (r + clear^2) of it is `field` and the rest is `smooth`.
    """
    a, b = first.astype(np.float32), second.astype(np.float32)
    left = b - a
    camera: F32 = np.median(field[::_SPARSE, ::_SPARSE].reshape(-1, 2), axis=0).astype(np.float32)
    move = np.array([[1, 0, camera[0]], [0, 1, camera[1]]], np.float32)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(b, move, b.shape[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE) - a
    if cv2.norm(moved, cv2.NORM_L1) < 0.9 * cv2.norm(left, cv2.NORM_L1):
        left = moved
    else:
        camera = np.zeros(2, np.float32)
    energy = cv2.blur(left * left, (_WINDOW, _WINDOW))
    keep = energy / (energy + np.float32(_NOISE**2))
    if smooth is not None:
        clear = energy / (energy + np.float32(_CLEAR**2))
        field = smooth + (field - smooth) * clear[..., None]
    return np.asarray(camera + (field - camera) * keep[..., None], np.float32)


def _small_grey(frame: U8, size: int) -> U8:
    """(H, W, 3) to grey with a short side of `size`, never enlarged."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    scale = size / min(height, width)
    if scale < 1:
        to = (round(width * scale), round(height * scale))
        grey = cv2.resize(grey, to, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)
