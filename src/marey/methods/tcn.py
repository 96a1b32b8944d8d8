"""TCN, from a single view: neighbouring frames alike, frames further away not.

Sermanet, Lynch, Chebotar, Hsu, Jang, Schaal, Levine: Time-Contrastive Networks: Self-Supervised
Learning from Video, ICRA 2018, arXiv 1704.06888 (section 3, single view).

An anchor a_k and its positive p_k lie within a few frames of each other. The loss is that of
n-pairs (Sohn, NIPS 2016; `marey.losses.tcn`): -log softmax_l(a_k . p_l) at l = k, plus lambda / 4
times the mean squared lengths; the negatives are the positives of the same video's other pairs.
Nothing is compared between videos.
"""

from __future__ import annotations

import numpy as np

from marey.config import Recipe, TcnConfig
from marey.losses.tcn import n_pairs
from marey.methods.base import FrameMethod, augmented
from marey.motion import MotionMaps
from marey.sampling import frame_pairs
from marey.types import Batch, StepOutput, VideoInfo, View


def settings(recipe: Recipe) -> TcnConfig:
    assert isinstance(recipe.method, TcnConfig)
    return recipe.method


class Tcn(FrameMethod):
    """N-pairs of neighbouring frames; one view of each video."""

    @classmethod
    def views(
        cls,
        recipe: Recipe,
        video: VideoInfo,
        rng: np.random.Generator,
        motion: MotionMaps | None = None,
    ) -> list[View]:
        config = settings(recipe)
        chosen = frame_pairs(
            video.frames, config.frames, rng, window=config.window, stretch=config.stretch
        )
        return augmented(recipe, video, rng, [chosen])

    def forward(self, batch: Batch) -> StepOutput:
        rows = self.rows(batch)[:, 0]
        regularisation = settings(self.recipe).regularisation
        loss = n_pairs(rows, batch.valid[:, 0], regularisation=regularisation)
        return StepOutput(loss, {"length": rows.detach().norm(dim=-1)[batch.valid[:, 0]].mean()})


METHOD = Tcn
