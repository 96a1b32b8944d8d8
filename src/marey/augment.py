"""Random changes of a view's look, the same for all its frames, and the plain view without them.

The recipe is CARL's (section 4.1): random resized crop, flip, colour jitter, greyscale, blur,
ImageNet normalisation. `draw` makes the random choices (NumPy only, in the data workers),
`augment` carries them out on whole clips, on the clips' own device.

Colours mean what they mean in Pillow and torchvision, computed in float32 without rounding in
between: brightness scales, contrast blends with the mean luma of each frame, saturation with each
pixel's luma, hue turns the HSV colour circle; values are clamped to the range after each.

On the CPU every thread takes frames of its own through OpenCV's vector code, a few at a time. Other
devices take a clip at a time, in torch. Both give the same values, but that the CPU resizes in
uint8.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from marey import device
from marey.config import AugmentConfig
from marey.errors import ConfigError, ShapeError
from marey.types import F32, F64, Draw

Box = tuple[float, float, float, float]
Crop = Literal["whole", "first", "centre", "last"]
"""How a frame becomes a square at evaluation (`plain`)."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

_SIGMA_SIZE = 224  # the view whose pixels `Draw.sigma` counts
# Pixels that a CPU thread takes at a time: with fewer, which would stay in the cache, the threads
# wait for Python's lock, and more gain nothing.
_PIXELS = 8 * 224 * 224

# affine maps of (red, green, blue, 1), values 0..255
_SAME = np.eye(4)
_GREY = np.eye(4)
_GREY[:3, :3] = LUMA
_NORMALISE = np.diag([*(1 / (255 * s) for s in STD), 1.0])
_NORMALISE[:3, 3] = -np.divide(MEAN, STD)


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
    for clip, choice in zip(clips, draws, strict=True):
        _check_clip(clip)
        _check_jitter(choice)
    lengths = {len(clip) for clip in clips}
    if len(lengths) > 1:
        raise ShapeError(f"clips of {sorted(lengths)} frames: pad them to one length first")
    shape = (len(clips), len(clips[0]), size, size, 3)
    with torch.inference_mode(False):  # which the threads that fill it know nothing of
        out = torch.empty(shape, dtype=dtype, device=clips[0].device)
    if out.device.type == "cpu":
        _augment_cpu(clips, draws, out)
    else:
        for clip, choice, place in zip(clips, draws, out, strict=True):
            place.copy_(_augment_torch(clip, choice, size).permute(0, 2, 3, 1))
    return out.permute(0, 1, 4, 2, 3)


def plain(
    clip: Tensor,
    size: int,
    dtype: torch.dtype = torch.float32,
    crop: Crop = "whole",
) -> Tensor:
    """The view for evaluation: no chance in it.

    clip: (T, H, W, 3) uint8.
    crop: `whole` squeezes the whole frame into the square, as CARL's release does at test time,
        so that nothing at the edges is lost; the others keep the aspect (for clips): the largest
        square at the `first` end of the long side (left or top), at its `centre`, or at its `last`
        end, as after resizing the short side to `size`.

    Returns (T, 3, size, size) of `dtype`, normalised, channels last in memory. Raises ShapeError
    for a clip of another shape or type, ConfigError for an unknown crop.
    """
    _check_clip(clip)
    halves = {"first": 0, "centre": 1, "last": 2}  # of what the square leaves, before it
    if crop not in ("whole", *halves):
        raise ConfigError(f"there is no crop '{crop}'; use whole, {', '.join(halves)}")
    box = WHOLE
    if crop != "whole":
        height, width = clip.shape[1:3]
        side = min(height, width)
        top, left = ((length - side) * halves[crop] // 2 for length in (height, width))
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


def _check_jitter(choice: Draw) -> None:
    for name, _ in choice.jitter:
        if name not in ("brightness", "contrast", "saturation", "hue"):
            raise ConfigError(
                f"there is no jitter '{name}'; use brightness, contrast, saturation or hue"
            )


def _augment_cpu(clips: Sequence[Tensor], draws: Sequence[Draw], out: Tensor) -> None:
    """Fill `out` (N, T, size, size, 3)."""
    size = out.shape[2]
    threads = torch.get_num_threads()
    step = max(1, min(_PIXELS // size**2, math.ceil(out.shape[0] * out.shape[1] / threads)))
    chunks = [
        (clip[i : i + step], choice, place[i : i + step])
        for clip, choice, place in zip(clips, draws, out, strict=True)
        for i in range(0, len(clip), step)
    ]
    queue, count = iter(chunks), min(threads, len(chunks))
    device.side_by_side(lambda _: _work(queue, size, step), range(count))


def _work(queue: Iterator[tuple[Tensor, Draw, Tensor]], size: int, most: int) -> None:
    """Augment chunk after chunk: K frames (K, H, W, 3), their draw, (K, size, size, 3) to fill.

    most: the largest K.
    """
    # once: allocating takes longer than computing
    images, spares = torch.empty(2, most, size, size, 3)
    for frames, choice, out in queue:
        image, spare = images[: len(frames)], spares[: len(frames)]
        pixels = crop_resize(frames.permute(0, 3, 1, 2), choice.box, False, size)
        pixels = pixels.permute(0, 2, 3, 1)
        if choice.flip:  # here, as torch takes half as long as for resizing
            flipped = cv2.flip(pixels.flatten(0, 1).numpy(), 1)
            pixels = torch.from_numpy(flipped).view_as(pixels)
        image.copy_(pixels)
        _paint(image, spare, choice, out)


def _paint(image: Tensor, spare: Tensor, choice: Draw, out: Tensor) -> None:
    """Change the colours of `image` and blur it into `out`, all (K, size, size, 3).

    image, spare: float32; what they hold is lost.

    Changes of colour other than the hue are affine maps, which pile up in `pending`: each pass over
    the pixels costs. While it is one scale and one shift for all colours (`even`), the hue can turn
    before it as well as after, and values can be clamped before it.
    """
    size, pending, even = image.shape[1], _SAME, True
    for name, amount in choice.jitter:
        if name == "hue":
            if not even:
                _transform(image, pending, spare)
                image, spare, pending, even = spare, image, _SAME, True
            cv2.cvtColor(_tall(image), cv2.COLOR_RGB2HSV, dst=_tall(spare))
            _tall(spare)[..., 0] += 360 * (amount % 1)
            cv2.cvtColor(_tall(spare), cv2.COLOR_HSV2RGB, dst=_tall(image))
            continue
        step = np.diag([amount, amount, amount, 1.0])
        if name == "contrast":
            lumas = _lumas(image, pending)
            step = np.repeat(step[None], len(image), 0) if len(image) > 1 else step
            step[..., :3, 3] = (1 - amount) * lumas
        elif name == "saturation":
            step[:3, :3] += (1 - amount) * _GREY[:3, :3]
            even = False
        pending = step @ pending
        if amount > 1:  # else it is a blend of colours, and so a colour
            if even and pending.flat[0] > 0:
                _clamp_before(image, pending)
            else:
                _transform(image, pending, spare)
                image, spare, pending, even = spare.clamp_(0, 255), image, _SAME, True
    sigma = choice.sigma * size / _SIGMA_SIZE
    if sigma > 0:
        side = 2 * math.ceil(3 * sigma) + 1
        for frame, blurred in zip(image.numpy(), spare.numpy(), strict=True):
            cv2.GaussianBlur(
                frame, (side, side), sigma, dst=blurred, borderType=cv2.BORDER_REPLICATE
            )
        image, spare = spare, image
    if choice.grey:
        pending = _GREY @ pending
    if out.dtype == torch.float32:
        _transform(image, _NORMALISE @ pending, out)
    else:
        _transform(image, _NORMALISE @ pending, spare)
        out.copy_(spare)


def _lumas(image: Tensor, maps: F64) -> F64:
    """Mean luma of each frame after the maps, (K, 1)."""
    rows = image.flatten(2).mean(1)  # a vector of columns and colours: fast to sum
    means = rows.view(len(image), -1, 3).mean(1).double().numpy()
    weights = LUMA @ maps[..., :3, :]
    lumas: F64 = (weights[..., :3] * means).sum(-1, keepdims=True) + weights[..., 3:]
    return lumas


def _clamp_before(image: Tensor, maps: F64) -> None:
    """Clamp frames (K, size, size, 3) so that their colours are in the range after the maps.

    maps: a scale and a shift, the same for all colours, (4, 4), or one for each frame (K, 4, 4).
    """
    scale = maps.flat[0]
    for frames, shift in zip(
        image[None] if maps.ndim == 2 else image, np.atleast_1d(maps[..., 0, 3]), strict=True
    ):
        frames.clamp_(-shift / scale, (255 - shift) / scale)


def _transform(image: Tensor, maps: F64, out: Tensor) -> None:
    """An affine map of colours (4, 4) on frames (K, size, size, 3), or one for each (K, 4, 4).

    In place it would take twice as long.
    """
    if maps.ndim == 2:
        cv2.transform(_tall(image), maps[:3], dst=_tall(out))
        return
    for frame, matrix, place in zip(image.numpy(), maps, out.numpy(), strict=True):
        cv2.transform(frame, matrix[:3], dst=place)


def _tall(frames: Tensor) -> F32:
    """(K, H, W, 3) float32 as one picture, the frames below each other, for OpenCV."""
    tall: F32 = frames.flatten(0, 1).numpy()
    return tall


def _augment_torch(clip: Tensor, choice: Draw, size: int) -> Tensor:
    """The same for a clip (T, H, W, 3) on any device, to (T, 3, size, size) float32."""
    x = crop_resize(clip.permute(0, 3, 1, 2), choice.box, choice.flip, size).float()
    for name, amount in choice.jitter:
        if name == "brightness":
            x = x * amount
        elif name == "contrast":
            x = torch.lerp(_luma(x).mean((2, 3), keepdim=True), x, amount)
        elif name == "saturation":
            x = torch.lerp(_luma(x), x, amount)
        else:
            x = _turn_hue(x, amount)
        x = x.clamp_(0, 255)
    if choice.sigma > 0:
        blur = _blur_matrix(choice.sigma * size / _SIGMA_SIZE, size, x.device)
        x = blur @ x @ blur.mT
    if choice.grey:
        x = _luma(x)
    mean, std = (torch.tensor(v, device=x.device).view(3, 1, 1) for v in (MEAN, STD))
    return (x / 255 - mean) / std


def _luma(x: Tensor) -> Tensor:
    """(T, 3, H, W) to (T, 1, H, W)."""
    return (x * torch.tensor(LUMA, device=x.device).view(3, 1, 1)).sum(1, keepdim=True)


def _turn_hue(x: Tensor, turns: float) -> Tensor:
    """Turn the HSV colour circle of (T, 3, H, W): its six sides are `hue` 0..6."""
    red, green, blue = torch.unbind(x[:, :, None], 1)
    high = x.amax(1, keepdim=True)
    chroma = high - x.amin(1, keepdim=True)
    hue = torch.where(high == green, 2 * chroma + blue - red, 4 * chroma + red - green)
    hue = torch.where(high == red, green - blue, hue) / chroma.clamp_min(1e-6)
    start = torch.tensor([5.0, 3.0, 1.0], device=x.device).view(3, 1, 1)
    side = torch.remainder(hue + start + 6 * turns, 6)
    return high - chroma * torch.minimum(side, 4 - side).clamp_(0, 1)


def _blur_matrix(sigma: float, size: int, device: torch.device) -> Tensor:
    """The Gaussian blur of a line of `size` pixels, whose ends are repeated beyond its ends."""
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, device=device)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    columns = (torch.arange(size, device=device)[:, None] + offsets).clamp_(0, size - 1)
    matrix = torch.zeros(size, size, device=device)
    return matrix.scatter_add_(1, columns, (weights / weights.sum()).expand(size, -1))
