"""When and where MCL looks: clips and crops led by motion (MCL, section 3.2).

Li, Zhang, Qiu, Yao, Liu, Mei: Motion-Focused Contrastive Learning of Video Representations, ICCV
2021, arXiv 2201.04029. A tubelet is a clip cut to one box. Nothing here looks at a pixel: the
choice follows from what `marey.motion` keeps of a video.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.errors import ShapeError
from marey.types import F64, I64

Box = tuple[float, float, float, float]

_SIZES, _PLACES = 20, 40  # crops tried


@dataclass(frozen=True, slots=True)
class Clips:
    """First frames of a query clip and of two key clips from the other side of the video.

    keys: in the order of time.  order: 1 where the query comes first, 0 where the keys do.
    """

    query: int
    keys: tuple[int, int]
    order: int


def choose_clips(
    rng: np.random.Generator,
    scores: NDArray[Any],
    *,
    span: int = 32,
    focus: float = 0.7,
    top: float = 0.5,
) -> Clips:
    """Draw the clips of one sample.

    A coin puts the query into one half of the video and both keys into the other. With
    probability `focus`, one coin for the sample as in the release, starts are drawn from each
    half's share `top` with the highest scores, else from all of it. A video shorter than two clips
    gives three sorted, uniform starts that may overlap.

    scores: (max(N - span + 1, 1),) clip scores of all starts (`MotionMaps.scores`).
    span: frames that a clip spans, its length times its stride.

    Raises ShapeError where there are no scores.
    """
    starts = len(scores)
    if scores.ndim != 1 or not starts:
        raise ShapeError(f"scores must be (M,) with at least one start, not {scores.shape}")
    order = int(rng.integers(2))
    if starts <= span:
        a, b, c = (int(s) for s in np.sort(rng.integers(starts, size=3)))
        return Clips(a, (b, c), order) if order else Clips(c, (a, b), order)
    share = top if rng.random() < focus else 1.0
    sides = focused(scores, span, share)
    own, other = sides if order else sides[::-1]
    first, second = sorted(int(s) for s in rng.choice(other, 2))
    return Clips(int(rng.choice(own)), (first, second), order)


def focused(scores: NDArray[Any], span: int = 32, top: float = 0.5) -> list[I64]:
    """The starts with most motion: of each half of the video, the share `top` of its starts.

    Of a video too short for two clips, all starts, as one.
    """
    starts = len(scores)
    if starts <= span:
        return [np.arange(starts)]
    half = (starts + span - 1) // 2
    sides = [np.arange(half - span + 1), np.arange(half, starts)]
    return [_highest(side, scores, top) for side in sides]


def clip_index(start: int, frames: int, *, length: int = 16, stride: int = 2) -> I64:
    """(length,) frame numbers of a clip; beyond the end of the video its last frame repeats."""
    return np.minimum(start + stride * np.arange(length), frames - 1).astype(np.int64)


def motion_region(clip_map: NDArray[Any], share: float = 0.1) -> tuple[Box, float]:
    """The box around what moves most, and how much of it a crop has to cover.

    clip_map: (rows, columns), the clip's mean frame map.
    share: of the cells, those with the highest values; cells without motion do not count.

    Returns the box as fractions of the frame and the least covered share of it: 0.9 for a box of
    up to 4 cells, 0.8 up to 8, 0.7 up to 12. Motion all over the frame, or nowhere, gives 0: any
    crop will do. Raises ShapeError.
    """
    if clip_map.ndim != 2 or not clip_map.size:
        raise ShapeError(f"a clip map must be (rows, columns), not {clip_map.shape}")
    rows, columns = clip_map.shape
    highest = np.argsort(-clip_map, axis=None, kind="stable")[: max(int(clip_map.size * share), 1)]
    highest = highest[clip_map.flat[highest] > 0]
    if not len(highest):
        return (0.0, 0.0, 1.0, 1.0), 0.0
    y, x = np.divmod(highest, columns)
    top, left = int(y.min()), int(x.min())
    height, width = int(y.max()) + 1 - top, int(x.max()) + 1 - left
    box = (top / rows, left / columns, height / rows, width / columns)
    cells = height * width
    return box, 0.9 if cells <= 4 else 0.8 if cells <= 8 else 0.7 if cells <= 12 else 0.0


def choose_box(
    rng: np.random.Generator,
    clip_map: NDArray[Any],
    *,
    height: int,
    width: int,
    area: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Box:
    """Draw a random resized crop that keeps in view what moves most.

    Of 20 sizes with 40 places each the first crop that covers enough of the `motion_region`, else
    the one that covers most. (The release tries places for its first size only.)

    clip_map: (7, 7), the clip's mean frame map.
    height, width: of the frame in pixels; only their ratio counts.
    area: share of the frame, uniform.  ratio: width to height in pixels, its logarithm uniform.
    A frame too long for any such crop gives the largest of an allowed ratio.

    Returns (top, left, height, width), fractions for `Draw.box`. Raises ShapeError.
    """
    region, least = motion_region(clip_map)
    areas = rng.uniform(*area, _SIZES)
    ratios = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), _SIZES))
    aspect = width / height
    sizes = np.sqrt(np.stack([areas / ratios * aspect, areas * ratios / aspect]))  # (2, 20)
    sizes = sizes[:, (sizes <= 1).all(0)]
    if not sizes.size:
        sizes = np.minimum([[aspect / ratio[0]], [ratio[1] / aspect]], 1.0)
    corners = rng.random((2, sizes.shape[1], _PLACES)) * (1 - sizes[..., None])
    covers = _covers(corners, sizes[..., None], region).ravel()
    chosen = int(np.argmax(covers >= least) if (covers >= least).any() else np.argmax(covers))
    top, left = corners.reshape(2, -1)[:, chosen]
    tall, wide = sizes[:, chosen // _PLACES]
    return float(top), float(left), float(tall), float(wide)


def _highest(starts: I64, scores: NDArray[Any], share: float) -> I64:
    count = math.ceil(share * len(starts))
    return starts[np.argsort(-scores[starts], kind="stable")[: max(count, 1)]]


def _covers(corners: F64, sizes: F64, region: Box) -> F64:
    """Share of the region that crops cover; corners and sizes are (2, ...), y before x."""
    low = np.array(region[:2]).reshape(2, *[1] * (corners.ndim - 1))
    side = np.array(region[2:]).reshape(low.shape)
    inside = np.minimum(corners + sizes, low + side) - np.maximum(corners, low)
    return np.asarray((np.maximum(inside, 0) / side).prod(0))
