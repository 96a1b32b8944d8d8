"""Embedding a video as it is usually written: all of it decoded, then all through the network.

The network in float32, as it is, in batches; the same weights and the same head as Marey's.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.decode_all import decode_all
from marey.bench.speed_pictures import eager
from marey.methods.base import ClipMethod, FrameMethod, Method

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


CLIPS = 4
"""Clips that go through a network at once."""


def embed_all(method: Method, path: Path, size: int) -> Tensor:
    """(N, D) unit vectors of all frames, by a method that pools by maximum, or of all clips."""
    if isinstance(method, FrameMethod):
        return embed_frames(method, path, size)
    assert isinstance(method, ClipMethod)
    return embed_clips(method, path, size)


def embed_frames(method: FrameMethod, path: Path, size: int) -> Tensor:
    pixels = F.interpolate(decode_all(path), (size, size), mode="bilinear", antialias=True)
    maps = eager(method.encoder.backbone.eval(), (pixels - MEAN) / STD)
    with torch.no_grad():
        return method.eval().encode(maps.amax((2, 3))[None], torch.arange(len(maps))[None])[0]


def embed_clips(method: ClipMethod, path: Path, size: int) -> Tensor:
    """Of the largest square in the middle."""
    pixels = decode_all(path)
    height, width = pixels.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    pixels = pixels[:, :, top : top + side, left : left + side]
    pixels = (F.interpolate(pixels, (size, size), mode="bilinear", antialias=True) - MEAN) / STD
    clips = pixels[type(method).units(method.recipe, len(pixels))]
    with torch.no_grad():
        rows = [method.eval().encoder(batch)[0] for batch in clips.split(CLIPS)]
    return F.normalize(torch.cat(rows), dim=-1)
