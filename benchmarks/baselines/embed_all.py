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
from marey.methods.base import FrameMethod

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def embed_all(method: FrameMethod, path: Path, size: int) -> Tensor:
    """(T, D) unit vectors of all frames, by a method that pools by maximum."""
    pixels = F.interpolate(decode_all(path), (size, size), mode="bilinear", antialias=True)
    maps = eager(method.encoder.backbone.eval(), (pixels - MEAN) / STD)
    with torch.no_grad():
        return method.eval().encode(maps.amax((2, 3))[None], torch.arange(len(maps))[None])[0]
