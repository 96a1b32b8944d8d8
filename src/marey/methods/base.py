"""What a method is: a way of taking views of a video, plus a loss. Everything else is shared.

Training, embedding, storage and evaluation know a method by the verbs of `Method` alone, and
never ask which one it is. `CONTRIBUTING.md` shows how to add one in five steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey.augment import draw
from marey.config import BlockConfig, EncoderConfig, FrameMethodConfig, Recipe
from marey.errors import ConfigError
from marey.models.clip_encoder import ClipEncoder
from marey.models.encoder import FrameEncoder
from marey.motion import MotionMaps, MotionSettings
from marey.types import I64, Batch, Bool, StepOutput, VideoInfo, View


class Method(nn.Module, ABC):
    """A network with four verbs: `views`, `forward`, `after_step` and, for export, `encode`.

    Attributes:
        crop: how a frame becomes the square that `features` sees at evaluation: squeezing the
            "whole" frame, or its "centre".
        embeds: what a row of the embedding stands for, a "frame" or a "clip".
        exported: beginnings of the names of the weights that `features` and `encode` need; the
            others (heads of the loss, slow copies, queues) are left out of an export.
    """

    crop: ClassVar[Literal["whole", "centre"]] = "whole"
    embeds: ClassVar[Literal["frame", "clip"]] = "frame"
    exported: ClassVar[tuple[str, ...]] = ("",)

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe

    @classmethod
    @abstractmethod
    def views(
        cls,
        recipe: Recipe,
        video: VideoInfo,
        rng: np.random.Generator,
        motion: MotionMaps | None = None,
    ) -> list[View]:
        """The V views of one video that a training step looks at.

        Runs in data workers, before there is a network: everything random comes from `rng`.
        All views have the same T, whatever the video's length.
        motion: what moves in the video, computed as `motion` says.
        """

    @classmethod
    def motion(cls, recipe: Recipe) -> MotionSettings | None:
        """How the motion that `views` asks for is computed; None where it asks for none."""
        return None

    @abstractmethod
    def forward(self, batch: Batch) -> StepOutput:
        """The loss of a batch. This call, and only this, goes through DistributedDataParallel."""

    def after_step(self) -> None:
        """Runs after the optimiser: momentum copies, queues."""

    @property
    @abstractmethod
    def cacheable(self) -> bool:
        """Whether `features` is never trained, so that its outputs can be stored and reused."""

    @classmethod
    def units(cls, recipe: Recipe, frames: int, count: int | None = None) -> I64:
        """(N, L) frame numbers: what `features` looks at for each row of a video's embedding.

        For methods that embed frames, (frames, 1).
        count: so many rows at most, spread evenly over the video, instead of all of them.
        """
        return spread(frames, count)[:, None]

    @classmethod
    def spans(cls, recipe: Recipe, frames: int) -> tuple[I64, int]:
        """(N,) the first frame that each row of a video's embedding stands for, and how many."""
        units = cls.units(recipe, frames)
        return units[:, 0], int(units[0, -1] - units[0, 0]) + 1

    @property
    @abstractmethod
    def width(self) -> int:
        """F, the length of a row of `features`."""

    @abstractmethod
    def features(self, pixels: Tensor) -> Tensor:
        """(N, L, 3, H, W) normalised pixels of N units to (N, F) features, one unit at a time:
        the result for a unit does not depend on the others."""

    def encode(self, features: Tensor, times: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, N, F) features of whole videos to (B, N, D) embeddings of unit norm.

        times: (B, N) first frame of each unit.  valid: (B, N) bool, None where nothing is padded.
        """
        return self.relate(self.condense(features), times, valid)

    def condense(self, features: Tensor) -> Tensor:
        """(..., N, F) features to what `relate` needs of them, one row at a time.

        Of an hour of video there is room for this, not for the features.
        """
        return features

    @abstractmethod
    def relate(self, rows: Tensor, times: Tensor, valid: Tensor | None = None) -> Tensor:
        """The second half of `encode`: it may look at all (B, N, C) rows of a video at once."""

    @classmethod
    def context(cls, recipe: Recipe) -> int | None:
        """How many rows `relate` is to see at once, where a video has more; None for all of them.

        A longer video passes in overlapping windows.
        """
        return None

    def expect(self, units: int) -> None:
        """Says how many units `features` is about to see, so that it may prepare (compile)."""


def spread(places: int, count: int | None) -> I64:
    """`count` different places out of so many, as evenly as can be, both ends among them."""
    if count is None or count >= places:
        return np.arange(places, dtype=np.int64)
    return np.rint(np.linspace(0, places - 1, count)).astype(np.int64)


def augmented(
    recipe: Recipe, video: VideoInfo, rng: np.random.Generator, chosen: Sequence[tuple[I64, Bool]]
) -> list[View]:
    """Views of the chosen frames, (T,) index and valid each, and for each its own augmentation."""
    return [
        View(index, valid, draw(rng, recipe.augment, height=video.height, width=video.width))
        for index, valid in chosen
    ]


class FrameMethod(Method):
    """A method whose rows are frames: backbone, temporal transformer, one embedding per frame."""

    exported: ClassVar[tuple[str, ...]] = ("encoder.",)

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        assert isinstance(recipe.encoder, EncoderConfig)
        assert isinstance(recipe.method, FrameMethodConfig)
        if recipe.encoder.motion and (recipe.encoder.frozen != "all" or not recipe.data.copies):
            raise ConfigError(
                "Motion is read from stored features; with --encoder.motion, --encoder.frozen must "
                "be all and --data.copies at least 1."
            )
        # absolute positions are stretched to the frames of a training view
        self.encoder = FrameEncoder(recipe.encoder, recipe.method.frames, recipe.precision)

    @classmethod
    def units(cls, recipe: Recipe, frames: int, count: int | None = None) -> I64:
        """A frame, and with motion the one after it; the last frame counts as the one before."""
        at = spread(frames, count)
        if not cls.sees_motion(recipe):
            return at[:, None]
        at = np.minimum(at, max(frames - 2, 0))
        return np.stack((at, np.minimum(at + 1, frames - 1)), 1)

    @classmethod
    def spans(cls, recipe: Recipe, frames: int) -> tuple[I64, int]:
        return spread(frames, None), 1

    @classmethod
    def context(cls, recipe: Recipe) -> int | None:
        """The longest block that views are drawn from: of more the network has seen nothing.

        All of a video for methods whose views span it, and with absolute positions, which are
        stretched over it.
        """
        config = recipe.method
        assert isinstance(recipe.encoder, EncoderConfig)
        if recipe.encoder.position != "rotary" or not isinstance(config, BlockConfig):
            return None
        return math.ceil(config.stretch * config.frames)

    @staticmethod
    def sees_motion(recipe: Recipe) -> bool:
        """Whether `features` looks at pairs of frames."""
        return isinstance(recipe.encoder, EncoderConfig) and recipe.encoder.motion > 0

    @property
    def cacheable(self) -> bool:
        return not self.encoder.trains_backbone

    @property
    def width(self) -> int:
        return self.encoder.width

    def expect(self, units: int) -> None:
        self.encoder.expect(units)

    def features(self, pixels: Tensor) -> Tensor:
        return self.encoder.features(pixels)

    def condense(self, features: Tensor) -> Tensor:
        return self.encoder.head.condense(features)

    def relate(self, rows: Tensor, times: Tensor, valid: Tensor | None = None) -> Tensor:
        return F.normalize(self.encoder.head.relate(rows, times, valid).float(), dim=-1)

    def rows(self, batch: Batch) -> Tensor:
        """(B, V, T, D) embeddings of a batch's frames, before normalisation, with graph."""
        b, v, t = batch.index.shape
        if batch.cached:
            features = batch.inputs.flatten(0, 1)
        else:
            pixels = batch.inputs.flatten(0, 2)[:, None]
            features = self.encoder.features(pixels).view(b * v, t, -1)
        times, valid = batch.index.flatten(0, 1), batch.valid.flatten(0, 1)
        rows: Tensor = self.encoder.head(features, times, valid)
        return rows.view(b, v, t, -1)


class ClipMethod(Method):
    """A method whose rows are clips: a network's features, averaged over space and time.

    Attributes:
        encoder: the network, made by the method, with the heads that its losses need.
    """

    crop = "centre"
    embeds = "clip"
    exported: ClassVar[tuple[str, ...]] = ("encoder.backbone.",)
    encoder: ClipEncoder

    @property
    def cacheable(self) -> bool:
        return False

    @property
    def width(self) -> int:
        return self.encoder.backbone.channels

    def expect(self, units: int) -> None:
        self.encoder.expect(units)

    def features(self, pixels: Tensor) -> Tensor:
        learning = self.training or torch.is_grad_enabled()
        if learning or torch.compiler.is_exporting():  # which wants the network as it is
            features: Tensor = self.encoder(pixels)[0]
            return features
        return self.encoder.features(pixels)

    def relate(self, rows: Tensor, times: Tensor, valid: Tensor | None = None) -> Tensor:
        return F.normalize(rows, dim=-1)

    @classmethod
    def context(cls, recipe: Recipe) -> int | None:
        return 1  # each row alone
