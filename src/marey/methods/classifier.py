"""Fine-tuning: a network that was trained without labels learns to name actions.

The usual test of what a pre-training is worth, as for MCL (Li et al., ICCV 2021): one random clip
of each video at a time, dropout and a linear layer on the averaged features, cross-entropy, and all
of the network is trained. The pre-trained network is read from `encoder.weights`; everything else
that its method had (heads, queues, slow copies) is left behind.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from marey.augment import draw
from marey.config import ClassifierConfig, ClipEncoderConfig, Recipe
from marey.methods import find
from marey.methods.base import ClipMethod
from marey.models.clip_encoder import ClipEncoder
from marey.motion import MotionMaps
from marey.types import I64, Batch, StepOutput, VideoInfo, View


def settings(recipe: Recipe) -> tuple[ClassifierConfig, ClipEncoderConfig]:
    config, encoder = recipe.method, recipe.encoder
    assert isinstance(config, ClassifierConfig)
    assert isinstance(encoder, ClipEncoderConfig)
    return config, encoder


class Classifier(ClipMethod):
    """Cross-entropy of the action that a clip shows.

    Attributes:
        actions: the names of the classes, in alphabetical order: `Batch.group` is a place in them.
    """

    exported: ClassVar[tuple[str, ...]] = ("encoder.backbone.", "layer.")

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        config, encoder = settings(recipe)
        self.encoder = ClipEncoder(encoder, heads=(), precision=recipe.precision)
        self.actions = config.actions
        self.dropout = nn.Dropout(config.dropout)
        self.layer = nn.Linear(self.width, len(self.actions))

    @classmethod
    def views(
        cls,
        recipe: Recipe,
        video: VideoInfo,
        rng: np.random.Generator,
        motion: MotionMaps | None = None,
    ) -> list[View]:
        every = cls.units(recipe, video.frames, video.frames)
        index = every[rng.integers(len(every))]
        choice = draw(rng, recipe.augment, height=video.height, width=video.width)
        return [View(index, np.ones(len(index), bool), choice)]

    def forward(self, batch: Batch) -> StepOutput:
        scores = self.scores(self.features(batch.inputs[:, 0])).float()
        loss = F.cross_entropy(scores, batch.group)
        right = (scores.argmax(1) == batch.group).float().mean()
        return StepOutput(loss, {"accuracy": right.detach()})

    def scores(self, features: Tensor) -> Tensor:
        """(N, F) features of clips to (N, actions), the logarithm of their odds."""
        scores: Tensor = self.layer(self.dropout(features))
        return scores

    @classmethod
    def units(cls, recipe: Recipe, frames: int, count: int | None = None) -> I64:
        """The clips of the method that the network was trained with before."""
        config, _ = settings(recipe)
        base = replace(recipe, method=config.base)
        return find(base).units(base, frames, count)


METHOD = Classifier
