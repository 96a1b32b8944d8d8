"""Features of frames as they are usually computed: the network as it is, float32, in batches."""

from __future__ import annotations

import torch
from torch import Tensor

from marey.models.backbone import Backbone

BATCH = 32


def eager_features(backbone: Backbone, pixels: Tensor) -> Tensor:
    """(N, 3, H, W) normalised pixels to the last stage's output for all of them."""
    backbone.eval()
    with torch.no_grad():
        return torch.cat([backbone(batch)[-1] for batch in pixels.split(BATCH)])
