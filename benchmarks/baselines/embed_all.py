"""Embedding a video as it is usually written: all of it decoded, then all through the network.

The network in float32, as it is, in batches; the same weights and the same head as Marey's.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.decode_all import decode_all
from marey.bench.speed_pictures import BATCH
from marey.methods.base import ClipMethod, FrameMethod, Method

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


CLIPS = 4
"""Clips that go through a network at once."""


def embed_all(method: Method, path: Path, size: int) -> Tensor:
    """(N, D) unit vectors of all frames, or of all clips."""
    if isinstance(method, FrameMethod):
        return embed_frames(method, path, size)
    assert isinstance(method, ClipMethod)
    return embed_clips(method, path, size)


def embed_frames(method: FrameMethod, path: Path, size: int) -> Tensor:
    pixels = F.interpolate(decode_all(path), (size, size), mode="bilinear", antialias=True)
    pixels = (pixels - MEAN) / STD
    encoder = method.eval().encoder
    pool = F.adaptive_avg_pool2d if encoder.config.pool == "grid" else F.adaptive_max_pool2d
    with torch.no_grad():
        parts = []
        for batch in pixels.split(BATCH):
            maps = encoder.backbone(batch, 0, max(encoder.pooled) + 1)
            parts.append([pool(maps[i], n).flatten(1) for i, n in encoder.pooled.items()])
        features = [torch.cat(maps) for maps in zip(*parts, strict=True)]
        if encoder.motion is not None:
            features.append(encoder.motion(pixels, pixels.roll(-1, 0)))
        looked_at = type(method).units(method.recipe, len(pixels))[:, 0]
        rows = torch.cat(features, 1)[looked_at]
        return method.encode(rows[None], torch.arange(len(rows))[None])[0]


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
