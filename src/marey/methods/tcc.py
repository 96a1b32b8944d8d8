"""TCC: a frame finds its like in another video of the same action, and from there back.

Dwibedi, Aytar, Tompson, Sermanet, Zisserman: Temporal Cycle-Consistency Learning, CVPR 2019,
arXiv 1904.07846.

Each frame of a video has a soft nearest neighbour in another video of the same action, and that
has a distribution over the first video's frames, with mean mu and variance sigma^2 in time. The
loss is the cycle-back regression (t - mu)^2 / sigma^2 + lambda log sigma^2 (section 3,
`marey.losses.tcc`), with times in shares of the video, over all ordered pairs of videos of an
action in the batch. As published, the embeddings are not normalised in the loss.
"""

from __future__ import annotations

import numpy as np

from marey.config import Recipe, TccConfig
from marey.losses.pairs import same_action
from marey.losses.tcc import cycle_back_regression
from marey.methods.base import FrameMethod, augmented
from marey.motion import MotionMaps
from marey.sampling import random_frames
from marey.types import Batch, StepOutput, VideoInfo, View


def settings(recipe: Recipe) -> TccConfig:
    assert isinstance(recipe.method, TccConfig)
    return recipe.method


class Tcc(FrameMethod):
    """Cycle-back regression between videos of one action; one view of each video.

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
        loss, error = cycle_back_regression(
            self.rows(batch)[:, 0],
            batch.index[:, 0] / batch.lengths[:, None],
            batch.valid[:, 0],
            pairs,
            temperature=config.temperature,
            variance_weight=config.variance_weight,
        )
        return StepOutput(loss, {"cycle_error": error})


METHOD = Tcc
