"""Decoding as it is usually written: the whole video, as floats, in one tensor."""

from __future__ import annotations

from pathlib import Path

import av
import torch
from torch import Tensor


def decode_all(path: Path) -> Tensor:
    """(T, 3, H, W) float32 in 0..1."""
    with av.open(str(path)) as container:
        frames = [torch.from_numpy(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    return torch.stack(frames).permute(0, 3, 1, 2).float() / 255
