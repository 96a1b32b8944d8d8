"""Marey's own: what moves where, contrasted within a video, and between videos.

Within a video, CARL's sequence contrast (`marey.losses.sequence`), of views that may start late and
end early. Between videos, the same contrast along their alignment (`marey.losses.between`): without
it, videos of other people and cameras lie wherever they fall. And where actions are known, a frame
is held apart from those of other actions (`marey.losses.actions`), so that it can be found among
all. Which videos show one action is taken from the table or the folders; where nothing is known all
videos count as one action, as in a folder of one procedure.

What was tried on the way here, and what each part brings: `docs/log.md`, `docs/results.md`.
"""

from __future__ import annotations

import numpy as np

from marey.config import MareyConfig, Recipe
from marey.losses.actions import between_actions_loss
from marey.losses.between import between_videos_loss
from marey.losses.pairs import pairs_of_one_action
from marey.losses.sequence import sequence_contrastive_loss
from marey.methods.base import FrameMethod, augmented
from marey.models.heads import ProjectionHead
from marey.motion import MotionMaps
from marey.sampling import two_cuts
from marey.types import Batch, StepOutput, VideoInfo, View


def settings(recipe: Recipe) -> MareyConfig:
    assert isinstance(recipe.method, MareyConfig)
    return recipe.method


class Marey(FrameMethod):
    """Sequence contrast within each video, and between videos."""

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
        blocks = two_cuts(
            video.frames,
            config.frames,
            rng,
            stretch=config.stretch,
            cut=config.cut,
            overlap=config.overlap,
        )
        return augmented(recipe, video, rng, blocks)

    def forward(self, batch: Batch) -> StepOutput:
        config = settings(self.recipe)
        z = self.projection(self.rows(batch))
        within = sequence_contrastive_loss(
            z,
            batch.index,
            batch.valid,
            variance=config.variance,
            temperature=config.temperature,
        )
        loss, terms = within, {"within": within.detach()}
        if config.actions:
            apart = between_actions_loss(
                z, batch.valid, batch.group, temperature=config.temperature
            )
            loss, terms["actions"] = loss + config.actions * apart, apart.detach()
        if config.between:
            pairs = pairs_of_one_action(batch.group, batch.videos)
            between = between_videos_loss(
                z,
                batch.index / batch.lengths[:, None, None],
                batch.valid,
                pairs,
                clock=config.clock,
                width=config.width,
                temperature=config.temperature,
            )
            loss, terms["between"] = loss + config.between * between, between.detach()
        return StepOutput(loss, terms)


METHOD = Marey
