"""CARL: an embedding for every frame of a long video.

Chen, Wei, Li, Cai: Frame-wise Action Representations for Long Videos via Sequence Contrastive
Learning, CVPR 2022, arXiv 2203.14957.

Two augmented views of one video overlap in time (section 3.1). A frame of one view shall find the
other view's frames in proportion to a Gaussian of their distance in time (equations 1-3,
`marey.losses.sequence`). Nothing is compared between videos, and no label is used.
"""

from __future__ import annotations

import numpy as np

from marey.config import CarlConfig, Recipe
from marey.losses.sequence import sequence_contrastive_loss
from marey.methods.base import FrameMethod, augmented
from marey.models.heads import ProjectionHead
from marey.motion import MotionMaps
from marey.sampling import two_blocks
from marey.types import Batch, StepOutput, VideoInfo, View


def settings(recipe: Recipe) -> CarlConfig:
    assert isinstance(recipe.method, CarlConfig)
    return recipe.method


class Carl(FrameMethod):
    """Sequence contrast of two views of one video against a Gaussian of time distance."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.projection = ProjectionHead(recipe.encoder.dimension)

    @classmethod
    def views(
        cls,
        recipe: Recipe,
        video: VideoInfo,
        rng: np.random.Generator,
        motion: MotionMaps | None = None,
    ) -> list[View]:
        config = settings(recipe)
        blocks = two_blocks(
            video.frames, config.frames, rng, stretch=config.stretch, overlap=config.overlap
        )
        return augmented(recipe, video, rng, blocks)

    def forward(self, batch: Batch) -> StepOutput:
        rows = self.rows(batch)
        z = self.projection(rows)
        config = settings(self.recipe)
        loss = sequence_contrastive_loss(
            z,
            batch.index,
            batch.valid,
            variance=config.variance,
            temperature=config.temperature,
            negatives=config.negatives,
        )
        nearest = (z[:, 0] @ z[:, 1].transpose(-1, -2)).masked_fill(~batch.valid[:, 1, None], -1)
        found = batch.index[:, 1].gather(1, nearest.argmax(-1))
        error = (found - batch.index[:, 0]).abs()[batch.valid[:, 0]].float().mean()
        return StepOutput(loss, {"frame_error": error.detach()})


METHOD = Carl
