"""LAV: two videos of one action warped onto each other, each of them spread out.

Haresh, Kumar, Coskun, Syed, Konin, Zia, Tran: Learning by Aligning Videos in Time, CVPR 2021,
arXiv 2103.17260.

The loss of a pair of videos is the soft time warping of their frames' squared distances, plus
alpha times the contrastive inverse difference moment of each: frames more than sigma apart are
pushed to a distance, frames closer in time drawn together (section 3, `marey.losses.lav`). The
first alone would be least if all frames were one point. Embeddings have unit norm, as in the
release; the loss is a mean over all pairs of videos of an action in the batch.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F

from marey.config import LavConfig, Recipe
from marey.losses.lav import lav_loss
from marey.losses.pairs import same_action
from marey.methods.base import FrameMethod, augmented
from marey.motion import MotionMaps
from marey.sampling import random_frames
from marey.types import Batch, StepOutput, VideoInfo, View


def settings(recipe: Recipe) -> LavConfig:
    assert isinstance(recipe.method, LavConfig)
    return recipe.method


class Lav(FrameMethod):
    """Soft time warping between videos of one action; one view of each video.

    `forward` raises ConfigError for a batch without two videos of one action.
    """

    @classmethod
    def views(
        cls,
        recipe: Recipe,
        video: VideoInfo,
        rng: np.random.Generator,
        motion: MotionMaps | None = None,
    ) -> list[View]:
        chosen = random_frames(video.frames, settings(recipe).frames, rng)
        return augmented(recipe, video, rng, [chosen])

    def forward(self, batch: Batch) -> StepOutput:
        config = settings(self.recipe)
        pairs = same_action(batch.group, batch.videos)
        alignment, apart = lav_loss(
            F.normalize(self.rows(batch)[:, 0].float(), dim=-1),
            batch.index[:, 0],
            batch.valid[:, 0],
            batch.lengths,
            pairs[pairs[:, 0] < pairs[:, 1]],  # warping is the same either way
            gamma=config.gamma,
            alpha=config.alpha,
            sigma=config.sigma,
            margin=config.margin,
        )
        terms = {"alignment": alignment.detach(), "regularisation": apart.detach()}
        return StepOutput(alignment + apart, terms)


METHOD = Lav
