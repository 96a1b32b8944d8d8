"""What flows through Marey: plain data, shapes checked at the door, no behaviour.

Letters used everywhere: B videos, V views, T frames of a view, N rows of a video (frames or
clips), D embedding, H x W pixels. Pixels are uint8 RGB until the network's first layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marey.errors import ShapeError

if TYPE_CHECKING:  # the viewer and `marey --help` must not pay for importing torch
    from torch import Tensor

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ShapeError(message)


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a video without decoding its pixels.

    path: the file.
    height, width: as displayed, in pixels (rotation metadata applied).
    seconds: (N,) float64, increasing; presentation time of every frame in display order, the
        first frame at 0. Frame numbers everywhere in Marey are positions in this array.
    """

    path: Path
    height: int
    width: int
    seconds: F64

    def __post_init__(self) -> None:
        _check(self.seconds.ndim == 1, f"seconds must be (N,), not {self.seconds.shape}")

    @property
    def frames(self) -> int:
        """Number of frames, N."""
        return len(self.seconds)

    @property
    def fps(self) -> float:
        """Mean frames per second; 25 where there is a single frame and so no rate."""
        if self.frames < 2 or self.seconds[-1] <= 0:
            return 25.0
        return float((self.frames - 1) / self.seconds[-1])


@dataclass(frozen=True, slots=True)
class Frames:
    """Decoded frames of one video.

    pixels: (T, H, W, 3) uint8 RGB.
    index: (T,) int64 frame numbers in display order, from 0.
    seconds: (T,) float64 presentation times from the first frame of the file.
    """

    pixels: U8
    index: I64
    seconds: F64

    def __post_init__(self) -> None:
        p = self.pixels
        _check(p.ndim == 4 and p.shape[3] == 3, f"pixels must be (T, H, W, 3), not {p.shape}")
        _check(p.dtype == np.uint8, f"pixels must be uint8, not {p.dtype}")
        _check(self.index.shape == (len(p),), f"index must be ({len(p)},), not {self.index.shape}")
        _check(
            self.seconds.shape == (len(p),),
            f"seconds must be ({len(p)},), not {self.seconds.shape}",
        )

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True)
class Flow:
    """Dense optical flow between neighbouring frames of one video.

    vectors: (T, 2, H, W) float32, u (right) then v (down), in pixels of this H x W per frame step;
        entry i leads from frame index[i] to the next frame read.
    index: (T,) int64 frame numbers.
    """

    vectors: F32
    index: I64

    def __post_init__(self) -> None:
        v = self.vectors
        _check(v.ndim == 4 and v.shape[1] == 2, f"vectors must be (T, 2, H, W), not {v.shape}")
        _check(self.index.shape == (len(v),), f"index must be ({len(v)},), not {self.index.shape}")


@dataclass(frozen=True, slots=True)
class Draw:
    """One random draw of the augmentation, the same for every frame of a view.

    box: (top, left, height, width) as fractions of the frame, within [0, 1].
    flip: mirror left-right, after the crop.
    jitter: what to do to colours, in this order: ("brightness" | "contrast" | "saturation",
        factor >= 0) or ("hue", shift in turns, -0.5..0.5). Empty = leave the colours.
    sigma: Gaussian blur in pixels of a 224-pixel view (it scales with the view), 0 = none.
    grey: replace colours by luma.
    """

    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    flip: bool = False
    jitter: tuple[tuple[str, float], ...] = ()
    sigma: float = 0.0
    grey: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """Which frames of a video a method wants to look at, and how.

    index: (T,) int64 frame numbers, non-decreasing; padding repeats the last real frame.
    valid: (T,) bool, False where padded.
    draw: the augmentation.
    extra: further arrays that travel to the loss under these names (motion maps, labels);
        the same names and shapes for every view of a method.
    """

    index: I64
    valid: Bool
    draw: Draw
    extra: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self.index.ndim == 1, f"index must be (T,), not {self.index.shape}")
        _check(self.valid.shape == self.index.shape, "valid must have the shape of index")


@dataclass(frozen=True, slots=True)
class Batch:
    """What a method's `forward` sees: V views of B videos, on the device.

    inputs: (B, V, T, 3, H, W) augmented and normalised pixels, or (B, V, T, F) where `cached`.
    cached: inputs are stored features of a frozen backbone instead of pixels.
    index: (B, V, T) int64 frame numbers.  valid: (B, V, T) bool.
    lengths: (B,) int64 frames of each whole video.
    group: (B,) int64, equal where videos show the same action, -1 where that is not known.
    videos: names, for messages.  progress: share of the training done, 0..1.
    extra: (B, V, ...) the views' own arrays, stacked.
    """

    inputs: Tensor
    cached: bool
    index: Tensor
    valid: Tensor
    lengths: Tensor
    group: Tensor
    videos: Sequence[str]
    progress: float = 0.0
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        want = 4 if self.cached else 6
        _check(
            self.inputs.ndim == want,
            f"inputs must have {want} axes, not {tuple(self.inputs.shape)}",
        )
        head = tuple(self.inputs.shape[:3])
        _check(tuple(self.index.shape) == head, f"index must be {head}")
        _check(tuple(self.valid.shape) == head, f"valid must be {head}")


@dataclass(frozen=True, slots=True)
class StepOutput:
    """A method's answer to one batch.

    loss: scalar tensor with graph.
    terms: named detached scalars for the log (parts of the loss, accuracies).
    """

    loss: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The embedding of one video: one row for every span of time (a frame, or a clip).

    video: its name as the user gave it.
    vectors: (N, D) float32, unit norm.
    first: (N,) int64 first frame of each span.   span: frames covered by one row, >= 1.
    start_seconds, end_seconds: (N,) float64, time covered by each row.
    """

    video: str
    vectors: F32
    first: I64
    span: int
    start_seconds: F64
    end_seconds: F64

    def __post_init__(self) -> None:
        _check(self.vectors.ndim == 2, f"vectors must be (N, D), not {self.vectors.shape}")
        n = len(self.vectors)
        for name in ("first", "start_seconds", "end_seconds"):
            shape = getattr(self, name).shape
            _check(shape == (n,), f"{name} must be ({n},), not {shape}")

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class Alignment:
    """Which row of one video belongs to which row of another.

    path: (2, K) int64, rows of the query above rows of the reference. Under DTW both are
        non-decreasing; under nearest neighbour K is the number of query rows.
    cost: mean cosine distance (1 - similarity) along the path, 0..2.
    method: "nearest", "dtw" or "subsequence".
    """

    path: I64
    cost: float
    method: str

    def __post_init__(self) -> None:
        p = self.path
        _check(p.ndim == 2 and p.shape[0] == 2, f"path must be (2, K), not {p.shape}")
