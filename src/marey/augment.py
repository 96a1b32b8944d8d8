"""Random changes of a view's look, the same for all its frames, and the plain view without them.

The recipe is CARL's (section 4.1): random resized crop, flip, colour jitter, greyscale, blur,
ImageNet normalisation. `draw` makes the random choices (NumPy only, in the data workers),
`augment` carries them out on whole clips, on the clips' own device.

Colours mean what they mean in Pillow and torchvision, computed in float32 without rounding in
between: brightness scales, contrast blends with the mean luma of each frame, saturation with each
pixel's luma, hue turns the HSV colour circle; values are clamped to the range after each.

Frames are cropped, resized and flipped as uint8, then taken apart into colour planes, changed in
place and written once. On the CPU every thread does so with its own frames, few enough to stay in
its cache, in memory that is allocated once: allocating anew would take longer than computing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from marey.config import AugmentConfig
from marey.errors import ConfigError, ShapeError
from marey.types import Draw

Box = tuple[float, float, float, float]
_Blur = list[tuple[slice, slice, Tensor]]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

_SIGMA_SIZE = 224  # the view whose pixels `Draw.sigma` counts
_CHUNK = 310_000  # values a CPU thread works on at a time: two frames of 224 pixels
_BLOCK = 32  # rows of a blur that are one matrix product


def draw(
    rng: np.random.Generator,
    config: AugmentConfig,
    *,
    height: int,
    width: int,
    box: Box | None = None,
) -> Draw:
    """Draw the augmentation of one view of a video of `height` x `width` pixels.

    box: the crop, where the method chose it itself; else a random resized crop is drawn: share of
    the area and logarithm of the aspect ratio (in pixels) uniform, 10 tries to fit it into the
    frame, then the largest centred crop whose ratio is allowed.
    """
    if box is None:
        box = _random_box(rng, config, height, width)
    flip = bool(rng.random() < config.flip)
    jitter: list[tuple[str, float]] = []
    if rng.random() < config.jitter:
        for name in ("brightness", "contrast", "saturation"):
            reach = getattr(config, name)
            if reach > 0:
                jitter.append((name, float(rng.uniform(max(0.0, 1 - reach), 1 + reach))))
        if config.hue > 0:
            jitter.append(("hue", float(rng.uniform(-config.hue, config.hue))))
        jitter = [jitter[i] for i in rng.permutation(len(jitter))]
    sigma = float(rng.uniform(*config.sigma)) if rng.random() < config.blur else 0.0
    grey = bool(rng.random() < config.grey)
    return Draw(box=box, flip=flip, jitter=tuple(jitter), sigma=sigma, grey=grey)


def augment(
    clips: Sequence[Tensor], draws: Sequence[Draw], size: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Augment and normalise each clip by its own draw.

    clips: N uint8 tensors (T, H, W, 3), equal T, on one device; H and W may differ.
    draws: N draws.

    Returns (N, T, 3, size, size) of `dtype`, channels last in memory as networks want it: its
    (N * T, 3, size, size) view is contiguous in `torch.channels_last`. Raises ShapeError for clips
    that do not fit together or a box outside the frame, ConfigError for an unknown jitter.
    """
    if not clips or len(clips) != len(draws):
        raise ShapeError(f"{len(clips)} clips with {len(draws)} draws: give one draw for each clip")
    for clip in clips:
        _check_clip(clip)
    lengths = {len(clip) for clip in clips}
    if len(lengths) > 1:
        raise ShapeError(f"clips of {sorted(lengths)} frames: pad them to one length first")
    shape = (len(clips), len(clips[0]), size, size, 3)
    out = torch.empty(shape, dtype=dtype, device=clips[0].device).permute(0, 1, 4, 2, 3)
    _run(clips, draws, out)
    return out


def plain(
    clip: Tensor,
    size: int,
    dtype: torch.dtype = torch.float32,
    crop: Literal["whole", "centre"] = "whole",
) -> Tensor:
    """The view for evaluation: no chance in it.

    clip: (T, H, W, 3) uint8.
    crop: `whole` squeezes the whole frame into the square, as CARL's release does at test time,
        so that nothing at the edges is lost; `centre` keeps the aspect: the central square, as
        after resizing the short side to `size` (for clips).

    Returns (T, 3, size, size) of `dtype`, normalised, channels last in memory. Raises ShapeError
    for a clip of another shape or type, ConfigError for an unknown crop.
    """
    _check_clip(clip)
    if crop not in ("whole", "centre"):
        raise ConfigError(f"there is no crop '{crop}'; use whole or centre")
    box = WHOLE
    if crop == "centre":
        height, width = clip.shape[1:3]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        box = (top / height, left / width, side / height, side / width)
    return augment([clip], [Draw(box=box)], size, dtype)[0]


def crop_resize(maps: Tensor, box: Box, flip: bool, size: int, *, flow: bool = False) -> Tensor:
    """Crop, resize (bilinear, antialiased) and flip per-pixel maps as `augment` does its pixels.

    maps: (T, C, H, W), uint8 or floating. The box is rounded to whole pixels of these maps.
    flow: the maps are optical flow (u, v) and a flip changes the sign of u, channel 0. Vectors
    are not rescaled: they stay in pixels of the H x W frame.

    Returns (T, C, size, size), a view of `maps` where nothing changes; uint8 stays uint8 on the
    CPU and is float32 elsewhere. Raises ShapeError for a box outside the frame.
    """
    if maps.dtype == torch.uint8 and maps.device.type != "cpu":
        maps = maps.float()  # only the CPU has antialiased uint8 kernels
    top, left, height, width = _pixels(box, maps.shape[2], maps.shape[3])
    maps = maps[:, :, top : top + height, left : left + width]
    if maps.shape[2:] != (size, size):
        maps = F.interpolate(maps, (size, size), mode="bilinear", antialias=True)
    if not flip:
        return maps
    maps = maps.flip(-1)
    if flow:
        maps[:, 0].neg_()
    return maps


def _random_box(rng: np.random.Generator, config: AugmentConfig, height: int, width: int) -> Box:
    low, high = config.ratio
    for _ in range(10):
        area = height * width * rng.uniform(*config.area)
        ratio = math.exp(rng.uniform(math.log(low), math.log(high)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            return float(top / height), float(left / width), h / height, w / width
    h, w = min(height, round(width / low)), min(width, round(height * high))
    return (height - h) // 2 / height, (width - w) // 2 / width, h / height, w / width


def _pixels(box: Box, height: int, width: int) -> tuple[int, int, int, int]:
    """The box in whole pixels, at least one of them."""
    top, left, h, w = box
    # 1e-6: fractions of whole pixels may add up to a hair above 1
    if min(box) < 0 or max(top + h, left + w) > 1 + 1e-6:
        raise ShapeError(
            f"box {box} (top, left, height, width) must lie within the frame, from 0 to 1"
        )
    y, x = min(round(top * height), height - 1), min(round(left * width), width - 1)
    bottom, right = round((top + h) * height), round((left + w) * width)
    return y, x, max(bottom - y, 1), max(right - x, 1)


def _check_clip(clip: Tensor) -> None:
    if clip.dtype != torch.uint8 or clip.ndim != 4 or clip.shape[3] != 3 or clip.numel() == 0:
        raise ShapeError(
            f"a clip must be (T, H, W, 3) uint8 with pixels in it, "
            f"not {tuple(clip.shape)} {clip.dtype}"
        )


@dataclass(frozen=True)
class _Job:
    """A few frames of one clip, how to change them and where to write them."""

    frames: Tensor
    draw: Draw
    blur: _Blur | None
    out: Tensor


def _run(clips: Sequence[Tensor], draws: Sequence[Draw], out: Tensor) -> None:
    """Fill `out` (N, T, 3, size, size)."""
    size, device = out.shape[-1], out.device
    threads, step = 1, out.shape[1]
    if device.type == "cpu":
        threads, step = torch.get_num_threads(), min(step, max(1, _CHUNK // (3 * size * size)))
    jobs = [
        _Job(frames, choice, blur, part)
        for clip, choice, whole in zip(clips, draws, out, strict=True)
        for blur in [_blur_bands(choice.sigma * size / _SIGMA_SIZE, size, device)]
        for frames, part in zip(torch.split(clip, step), torch.split(whole, step), strict=True)
    ]
    queue = iter(jobs)
    workers = min(threads, len(jobs))
    if workers == 1:
        _work(queue, _Canvas(step, size, device))
        return
    # Split between threads, each of many short operations would wait for its slowest part: where
    # other processes want the cores too, that is most of the time. So every thread takes frames of
    # its own and works alone. Setting 1 holds for that thread and for threads begun later.
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            canvases = [_Canvas(step, size, device) for _ in range(workers)]
            for done in [pool.submit(_work, queue, canvas) for canvas in canvases]:
                done.result()
    finally:
        torch.set_num_threads(threads)


def _work(queue: Iterator[_Job], canvas: _Canvas) -> None:
    for job in queue:
        pixels = job.frames.permute(0, 3, 1, 2)
        canvas.load(crop_resize(pixels, job.draw.box, job.draw.flip, canvas.size))
        for name, amount in job.draw.jitter:
            canvas.jitter(name, amount)
        canvas.write(job.out, job.draw.grey, job.blur)


class _Canvas:
    """A few frames as colour planes of values 0..255, and the room to change them."""

    x: Tensor  # the frames, (T, 3, size, size)
    y: Tensor  # and room for as much
    z: Tensor

    def __init__(self, frames: int, size: int, device: torch.device) -> None:
        self.size = size
        self._room = torch.empty(3, frames, 3, size, size, device=device)
        self._scale = torch.tensor([1 / (255 * s) for s in STD], device=device).view(3, 1, 1)
        shift = [-m / s for m, s in zip(MEAN, STD, strict=True)]
        self._shift = torch.tensor(shift, device=device).view(3, 1, 1)

    def load(self, pixels: Tensor) -> None:
        """Take (T, 3, size, size) pixels."""
        self.x, self.y, self.z = self._room[:, : len(pixels)]
        self.x.copy_(pixels)

    def jitter(self, name: str, amount: float) -> None:
        """One step of the colour jitter; see Draw."""
        x = self.x
        match name:
            case "brightness":
                x.mul_(amount)
            case "contrast":
                mean = _luma(x.mean((2, 3), keepdim=True), self.y[:, :1, :1, :1])
                torch.lerp(mean, x, amount, out=x)
            case "saturation":
                torch.lerp(_luma(x, self.y[:, :1]), x, amount, out=x)
            case "hue":
                self._turn_hue(amount)
            case _:
                raise ConfigError(
                    f"there is no jitter '{name}'; use brightness, contrast, saturation or hue"
                )
        if amount > 1:  # else it is a blend of colours, and so a colour
            x.clamp_(0, 255)

    def _turn_hue(self, turns: float) -> None:
        """Turn the HSV colour circle without leaving RGB.

        While the hue goes round, each channel of a colour is a trapezoid between the colour's
        smallest and largest channel: the triangle 2 * channel - middle channel, clamped to them.
        A third of a turn renames the channels. What is left is at most a sixth, under which each
        side of the triangle moves by chroma * sixths: upwards for red where blue exceeds green.
        """
        x, sides = self.x, self.y
        thirds = round(3 * turns)
        if thirds:
            x.copy_(x.roll(thirds, 1))
        red, green, blue = x.split(1, 1)
        low, middle, high = self.z.split(1, 1)
        torch.minimum(red, green, out=low)
        torch.maximum(red, green, out=high)
        torch.maximum(low, torch.minimum(high, blue, out=middle), out=middle)
        torch.minimum(low, blue, out=low)
        torch.maximum(high, blue, out=high)
        torch.sub(blue, green, out=sides[:, 0:1])
        torch.sub(red, blue, out=sides[:, 1:2])
        torch.sub(green, red, out=sides[:, 2:3])
        torch.lerp(middle, x, 2.0, out=x)
        chroma = torch.sub(high, low, out=middle)
        x.add_(torch.copysign(chroma, sides, out=sides), alpha=6 * turns - 2 * thirds)
        torch.clamp(x, low, high, out=x)

    def write(self, out: Tensor, grey: bool, blur: _Blur | None) -> None:
        """Drop colours if `grey`, normalise and blur, into `out` (T, 3, size, size)."""
        x = _luma(self.x, self.y[:, :1]) if grey else self.x
        x = torch.mul(x, self._scale, out=self.x).add_(self._shift)
        if blur is not None:
            x = self._blur(blur)
        out.copy_(x.to(out.dtype))

    def _blur(self, bands: _Blur) -> Tensor:
        """Blur x along both axes.

        Each pass blurs along the last axis and puts it in front, (C, H, W) -> (W, C, H) ->
        (H, W, C), so that the channels end up last without being copied.
        """
        frames = len(self.x)
        for source, target in ((self.x, self.y), (self.y, self.x)):
            lines, turned = source.view(frames, -1, self.size), target.view(frames, self.size, -1)
            for rows, near, band in bands:
                weights = band.expand(frames, -1, -1)
                torch.bmm(weights, lines[:, :, near].mT, out=turned[:, rows])
        return self.x.view(frames, self.size, self.size, 3).permute(0, 3, 1, 2)


def _luma(x: Tensor, out: Tensor) -> Tensor:
    """(T, 3, H, W) to (T, 1, H, W), in `out`."""
    red, green, blue = x.split(1, 1)
    torch.mul(red, LUMA[0], out=out)
    return out.add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def _blur_bands(sigma: float, size: int, device: torch.device) -> _Blur | None:
    """The Gaussian blur of a line of `size` pixels as a matrix, which is zero off its diagonal.

    Matrix products are what every processor does best: a depthwise convolution takes ten times as
    long. Blocks of rows (which rows, which columns they need, the weights) leave out the zeros.
    The pixel at the edge is repeated beyond it, as in Pillow.
    """
    if sigma <= 0:
        return None
    radius = math.ceil(4 * sigma)
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    columns = (torch.arange(size)[:, None] + offsets).clamp_(0, size - 1)
    matrix = torch.zeros(size, size).scatter_add_(
        1, columns, (weights / weights.sum()).expand(size, -1)
    )
    bands = []
    for i in range(0, size, _BLOCK):
        rows, near = slice(i, i + _BLOCK), slice(max(i - radius, 0), i + _BLOCK + radius)
        bands.append((rows, near, matrix[rows, near].to(device)))
    return bands
