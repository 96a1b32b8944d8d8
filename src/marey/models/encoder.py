"""From the pixels of a video to one embedding per frame (CARL, figure 2), with motion if asked."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey.config import EncoderConfig, Precision
from marey.models.backbone import build, trunk
from marey.models.heads import FrameHead
from marey.models.lucas_kanade import MotionCells

GRID = (5, 4)
"""Pooling `grid`: of the backbone's two `grid_stages`, so many cells by so many."""


class FrameEncoder(nn.Module):
    """Backbone, pooling over space, motion, and the head with its temporal transformer.

    Args:
        config: which backbone, how much of it is frozen, how space is pooled.
        train_rows: T, to which absolute positions are stretched.
        precision: of the frozen stages of the backbone.

    Raises ConfigError for names that do not exist, CheckpointError for weights that do not fit.
    """

    def __init__(
        self,
        config: EncoderConfig,
        train_rows: int,
        precision: Precision = "auto",
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = build(config.backbone, config.weights)
        channels = self.backbone.stage_channels
        if config.pool == "grid":
            self.pooled = dict(zip(self.backbone.grid_stages, GRID, strict=True))
        else:
            self.pooled = {len(channels) - 1: 1}
        self.pictures = sum(channels[i] * cells**2 for i, cells in self.pooled.items())
        self.motion = MotionCells(config.motion) if config.motion else None
        self.width = self.pictures + 2 * config.motion**2
        self.trunk = trunk(self.backbone, config.frozen, tuple(self.pooled), precision)
        self.trains_backbone = any(p.requires_grad for p in self.backbone.parameters())
        self.head = FrameHead(self.width, config, train_rows)

    def expect(self, images: int) -> None:
        """Lets the frozen stages prepare for so many images."""
        self.trunk.expect(images)

    def features(self, pixels: Tensor) -> Tensor:
        """(N, L, 3, H, W) normalised pixels to (N, F) features, pooled over space.

        Of the L frames the backbone sees the first. With motion L is 2, and the flow from the first
        to the second is the last 2 * motion^2 of the F.

        `max` over all of it, as published; `grid` keeps where things are: means over the cells of
        a coarse grid of two middle stages: those with stride 8 and 16, or of a vision transformer,
        whose stages have one stride, those at half and three quarters of its depth.
        """
        maps = self.trunk(pixels[:, 0])
        parts: list[Tensor] = []
        for i, cells in self.pooled.items():
            pool = F.adaptive_avg_pool2d if self.config.pool == "grid" else F.adaptive_max_pool2d
            parts.append(pool(maps[i], cells).flatten(1).float())
        if self.motion is not None:
            parts.append(self.motion(pixels[:, 0], pixels[:, 1]))
        return torch.cat(parts, 1)
