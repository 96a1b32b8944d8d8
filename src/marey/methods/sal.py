"""SaL: learning by telling whether three frames of a video are in order.

Misra, Zitnick, Hebert: Shuffle and Learn: Unsupervised Learning using Temporal Order
Verification, ECCV 2016, arXiv 1603.08561.

Of five frames a < b < c < d < e of a video, (b, c, d) and its reverse are in order, (b, a, d),
(b, e, d) and theirs are not (section 3). The embeddings of three frames, one after the other, go
through a small classifier; the loss is its cross-entropy (`marey.losses.sal`). The classifier is
TCC's release's, and as there frames are drawn from all of the video, not where it moves most.
A network that looks at the whole view can tell times without content, so this task asks less of a
transformer than of the network it was made for, which sees one frame.
"""

from __future__ import annotations

import numpy as np
from torch import nn

from marey.augment import draw
from marey.config import Recipe, SalConfig
from marey.losses.sal import gather_tuples, order_verification
from marey.methods.base import FrameMethod
from marey.motion import MotionMaps
from marey.sampling import order_tuples, random_frames
from marey.types import Batch, StepOutput, VideoInfo, View


def settings(recipe: Recipe) -> SalConfig:
    assert isinstance(recipe.method, SalConfig)
    return recipe.method


class Sal(FrameMethod):
    """Verification of the order of three frames; one view of each video."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.classifier = nn.Sequential(
            nn.Linear(3 * recipe.encoder.dimension, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 2),
        )

    @classmethod
    def views(
        cls,
        recipe: Recipe,
        video: VideoInfo,
        rng: np.random.Generator,
        motion: MotionMaps | None = None,
    ) -> list[View]:
        config = settings(recipe)
        index, valid = random_frames(video.frames, config.frames, rng)
        places, labels = order_tuples(int(valid.sum()), config.tuples, rng, ordered=config.ordered)
        look = draw(rng, recipe.augment, height=video.height, width=video.width)
        return [View(index, valid, look, {"places": places, "labels": labels})]

    def forward(self, batch: Batch) -> StepOutput:
        labels = batch.extra["labels"][:, 0]
        logits = self.classifier(gather_tuples(self.rows(batch)[:, 0], batch.extra["places"][:, 0]))
        loss = order_verification(logits, labels)
        right = (logits.argmax(-1) == labels)[labels >= 0].float()
        return StepOutput(loss, {"accuracy": right.sum() / max(1, len(right))})


METHOD = Sal
