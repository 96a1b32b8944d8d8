"""Networks from pictures to maps of features, in stages of which the first may be frozen."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from marey.config import Precision
from marey.errors import ConfigError
from marey.models.sources import locate
from marey.models.weights import load_into, load_state

if TYPE_CHECKING:
    from marey.models.trunk import Trunk


_log = logging.getLogger(__name__)


class Backbone(nn.Module, ABC):
    """A network of named stages, each a map of features at a stride.

    Pictures are (N, 3, H, W) floats, normalised with ImageNet's mean and standard deviation; any
    memory format, of which channels-last is the fastest.

    Attributes:
        stage_names, stage_channels, stage_strides: one entry per stage, from the picture on.
        exact_stages: how many stages, counted from the first, lose too much in bfloat16.
        frozen: how many stages, counted from the first, are not trained.
    """

    stage_names: tuple[str, ...]
    stage_channels: tuple[int, ...]
    stage_strides: tuple[int, ...]
    exact_stages: int = 0
    frozen: int = 0

    @abstractmethod
    def stage(self, i: int, x: Tensor) -> Tensor:
        """The output of stage i for the output of stage i - 1 (the pictures, for stage 0)."""

    @abstractmethod
    def stage_modules(self, i: int) -> tuple[nn.Module, ...]:
        """The submodules that stage i consists of.

        Parameters that belong to no submodule count as part of stage 0.
        """

    def as_map(self, x: Tensor) -> Tensor:
        """The (N, C, h, w) map of features in a stage's output, which may hold more than that."""
        return x

    @property
    def grid_stages(self) -> tuple[int, int]:
        """Numbers of the middle stages that the encoder's `grid` pooling looks at, the finer one
        first: the last ones of strides 8 and 16."""
        last = {stride: i for i, stride in enumerate(self.stage_strides)}
        return last[8], last[16]

    def other_names(self) -> list[Mapping[str, str]]:
        """Further spellings of all names of this network's weights in published files."""
        return []

    def packaged_weights(self) -> Path | None:
        """The weights file that an installed package brings along; None where none does."""
        return None

    def forward(self, x: Tensor, start: int = 0, stop: int | None = None) -> list[Tensor]:
        """Outputs of the stages start .. stop - 1, where x is what stage `start` takes."""
        outputs = []
        for i in range(start, len(self.stage_names) if stop is None else stop):
            x = self.stage(i, x)
            outputs.append(x)
        return outputs

    def train(self, mode: bool = True) -> Backbone:
        """As for every module, but frozen stages stay as they are: in evaluation mode."""
        super().train(mode)
        for i in range(self.frozen):
            for module in self.stage_modules(i):
                module.eval()
        return self

    def initialise(self) -> None:
        """Random weights: He et al. (ICCV 2015), by the outputs of every convolution."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def build(name: str, weights: str | Path = "package") -> Backbone:
    """The backbone of that name.

    Args:
        name: "efficientnet_lite0", "resnet18", "resnet50", "vit_s16", "vit_b16", "dinov2_s14" or
            "dinov2_b14".
        weights: "package" for those that an installed package brings along, "random", or a file,
            here or elsewhere (see `marey.models.sources.locate`, `marey.models.weights`).

    Raises ConfigError for other names, and where no package has weights of this backbone;
    CheckpointError for a weights file that does not fit or cannot be had.
    """
    # they are subclasses of this module's Backbone, so not at the top
    from marey.models.efficientnet import EfficientNetLite0
    from marey.models.resnet import resnet18, resnet50
    from marey.models.vit import dinov2_b14, dinov2_s14, vit_b16, vit_s16

    makers: dict[str, Callable[[], Backbone]] = {
        "efficientnet_lite0": EfficientNetLite0,
        "resnet18": resnet18,
        "resnet50": resnet50,
        "vit_s16": vit_s16,
        "vit_b16": vit_b16,
        "dinov2_s14": dinov2_s14,
        "dinov2_b14": dinov2_b14,
    }
    if name not in makers:
        raise ConfigError(f"There is no backbone {name!r}; there are {', '.join(makers)}.")
    backbone = makers[name]()
    if weights == "random":
        return backbone
    path = backbone.packaged_weights() if weights == "package" else locate(weights)
    if path is None:
        raise ConfigError(f"No package brings weights of {name}; name a weights file, or `random`.")
    state = load_state(path)
    load_into(backbone, state, path, backbone.other_names())
    if any(name.endswith("embed.video_emb.weight") for name in state):
        _log.warning(
            "%s also holds the transformer of CARL's release, which is not Marey's (it has no "
            "LayerNorm at its end, and other positions): its backbone alone was taken; `marey "
            "export` makes a run of the whole.",
            path,
        )
    return backbone


def freeze(backbone: Backbone, upto: str) -> int:
    """Takes stages out of training, and all others in: no gradients, BatchNorm in evaluation mode
    also after `.train()`, as in CARL (section 4.1: ResNet-50 up to layer3).

    Args:
        upto: the last frozen stage, "all" or "none".

    Returns: the number of frozen stages. Raises ConfigError for a stage that does not exist.
    """
    names = backbone.stage_names
    if upto not in (*names, "all", "none"):
        raise ConfigError(f"There is no stage {upto!r}; there are {', '.join(names)}, all, none.")
    count = {"all": len(names), "none": 0}.get(upto)
    backbone.frozen = names.index(upto) + 1 if count is None else count
    for parameter in backbone.parameters(recurse=False):
        parameter.requires_grad_(not backbone.frozen)
    for i in range(len(names)):
        for module in backbone.stage_modules(i):
            module.requires_grad_(i >= backbone.frozen)
    backbone.train(backbone.training)
    return backbone.frozen


def trunk(
    backbone: Backbone,
    upto: str,
    keep: Sequence[int],
    precision: Precision = "auto",
) -> Trunk:
    """Freezes the backbone up to a stage (see `freeze`) and returns the fast way through it.

    Args:
        keep: numbers of the stages whose outputs are wanted.
        precision: of the frozen stages.
    """
    from marey.models.trunk import Trunk  # which needs this module's Backbone

    freeze(backbone, upto)
    return Trunk(backbone, keep, precision=precision)
