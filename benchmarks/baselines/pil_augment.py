"""The usual way to augment a clip: frame by frame with Pillow, then to a float tensor."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from marey.types import Draw

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def augment_clip(clip: NDArray[np.uint8], draw: Draw, size: int) -> Tensor:
    """(T, H, W, 3) uint8 to (T, 3, size, size) float32, every frame changed by the same draw."""
    return torch.stack([augment_frame(Image.fromarray(frame), draw, size) for frame in clip])


def augment_frame(image: Image.Image, draw: Draw, size: int) -> Tensor:
    """One frame to (3, size, size) float32."""
    top, left, height, width = draw.box
    y, x = round(top * image.height), round(left * image.width)
    bottom, right = round((top + height) * image.height), round((left + width) * image.width)
    image = image.crop((x, y, right, bottom)).resize((size, size), Image.Resampling.BILINEAR)
    if draw.flip:
        image = ImageOps.mirror(image)
    for name, amount in draw.jitter:
        if name == "brightness":
            image = ImageEnhance.Brightness(image).enhance(amount)
        elif name == "contrast":
            image = ImageEnhance.Contrast(image).enhance(amount)
        elif name == "saturation":
            image = ImageEnhance.Color(image).enhance(amount)
        else:
            image = turn_hue(image, amount)
    if draw.sigma > 0:
        image = image.filter(ImageFilter.GaussianBlur(draw.sigma * size / 224))
    if draw.grey:
        image = image.convert("L").convert("RGB")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return (pixels.float().div(255) - MEAN) / STD


def turn_hue(image: Image.Image, turns: float) -> Image.Image:
    """Shift the hue channel, which counts 256 to a turn and wraps around."""
    hue, saturation, value = image.convert("HSV").split()
    shifted = np.array(hue) + np.uint8(round(turns * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(shifted), saturation, value)).convert("RGB")
