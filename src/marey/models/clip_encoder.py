"""From clips to what is contrasted: an R(2+1)D network and small heads (MCL, section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey.config import ClipEncoderConfig, Precision
from marey.errors import CheckpointError
from marey.models.backbone import Backbone
from marey.models.r2plus1d import (
    VideoNetwork,
    inflate,
    r2plus1d_18,
    r2plus1d_50,
    r2plus1d_small,
)
from marey.models.resnet import resnet50
from marey.models.sources import locate
from marey.models.trunk import Trunk
from marey.models.weights import load_into, load_state

NETWORKS: dict[str, Callable[[], VideoNetwork]] = {
    "r2plus1d_50": r2plus1d_50,
    "r2plus1d_18": r2plus1d_18,
    "r2plus1d_small": r2plus1d_small,
}
STRIDES = {"r2plus1d_50": (4, 32), "r2plus1d_18": (8, 16), "r2plus1d_small": (4, 16)}
"""Of each network: input frames per slice and pixels per cell of its features."""


class ClipEncoder(nn.Module):
    """Backbone and one head for each loss: linear, ReLU, linear, unit norm.

    Args:
        heads: their names.
        precision: of `features`.

    Raises CheckpointError for weights that do not fit.
    """

    def __init__(
        self, config: ClipEncoderConfig, heads: Sequence[str], precision: Precision = "auto"
    ) -> None:
        super().__init__()
        self.backbone = NETWORKS[config.backbone]()
        if config.weights != "random":
            _load(self.backbone, config)
        # how video networks are fastest on every device, and what `augment` puts out as a view
        self.backbone.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._fast = Trunk(_Features(self.backbone), (0,), precision=precision)
        channels = self.backbone.channels
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(channels, config.hidden),
                    nn.ReLU(),
                    nn.Linear(config.hidden, config.dimension),
                )
                for name in heads
            }
        )

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 3, H, W) normalised pixels to features and the map whose gradient is theirs.

        Returns (B, C) means over space and time, and the last convolution's output before its
        BatchNorm, (B, C, S, h, w).
        """
        return _features(self.backbone, clips)

    def expect(self, clips: int) -> None:
        """Lets `features` prepare for so many clips."""
        self._fast.expect(clips)

    def features(self, clips: Tensor) -> Tensor:
        """(B, T, 3, H, W) normalised pixels to (B, C) features: those of `forward`, without graph
        and in evaluation mode, on the fast way (`Trunk`)."""
        return self._fast(clips)[0]

    def head(self, name: str, features: Tensor) -> Tensor:
        """(B, C) features to (B, D) of unit norm, in the features' own precision."""
        with torch.autocast(features.device.type, enabled=False):
            return F.normalize(self.heads[name](features), dim=-1)


class _Features(Backbone):
    """A video network as a single stage, from clips (N, T, 3, H, W) to features (N, C)."""

    stage_names = ("features",)
    frozen = 1  # whoever asks for features without graph trains nothing

    def __init__(self, network: VideoNetwork) -> None:
        super().__init__()
        self.network = network
        self.stage_channels, self.stage_strides = (network.channels,), network.strides[1:]

    def stage(self, i: int, x: Tensor) -> Tensor:
        return _features(self.network, x)[0]

    def stage_modules(self, i: int) -> tuple[nn.Module, ...]:
        return (self.network,)


def _features(network: VideoNetwork, clips: Tensor) -> tuple[Tensor, Tensor]:
    features, convolved = network.features(clips.transpose(1, 2))
    precise = torch.promote_types(features.dtype, torch.float32)
    return features.mean((2, 3, 4), dtype=precise), convolved


def _load(backbone: VideoNetwork, config: ClipEncoderConfig) -> None:
    path = locate(config.weights)
    state = load_state(path)
    if any(weight.ndim == 5 for weight in state.values()):
        load_into(backbone, state, path)
        return
    if config.backbone != "r2plus1d_50":
        raise CheckpointError(
            f"{path} holds a network for pictures, from which only r2plus1d_50 can be grown; "
            "choose that backbone, or weights of R(2+1)D itself."
        )
    picture = resnet50()
    load_into(picture, state, path, picture.other_names())
    backbone.load_state_dict(inflate(picture.state_dict()), strict=False)
