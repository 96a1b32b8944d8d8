"""ResNet-18 and ResNet-50 (He et al., CVPR 2016), under the parameter names that published
weights use, without the classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from marey.models.backbone import Backbone


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def _conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)) + shortcut, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 beside a shortcut; the 3x3 carries the stride, as in published weights."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = _conv1x1(inputs, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv1x1(width, width * self.expansion)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return F.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


class ResNet(Backbone):
    """Stages `stem` (stride 4), `layer1` .. `layer4` (strides 4, 8, 16, 32).

    Args:
        block: the residual block.
        depths: blocks of each layer.
    """

    stage_names = ("stem", "layer1", "layer2", "layer3", "layer4")
    stage_strides = (4, 4, 8, 16, 32)

    def __init__(self, block: type[BasicBlock | Bottleneck], depths: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for i, depth in enumerate(depths):
            blocks: list[nn.Module] = []
            for j in range(depth):
                width, stride = 64 << i, 2 if i > 0 and j == 0 else 1
                outputs = width * block.expansion
                downsample = (
                    nn.Sequential(_conv1x1(channels, outputs, stride), nn.BatchNorm2d(outputs))
                    if stride != 1 or channels != outputs
                    else None
                )
                blocks.append(block(channels, width, stride, downsample))
                channels = outputs
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.stage_channels = (64, *((64 << i) * block.expansion for i in range(4)))
        self.initialise()

    def stage_modules(self, i: int) -> tuple[nn.Module, ...]:
        if i == 0:
            return self.conv1, self.bn1
        return (self.get_submodule(self.stage_names[i]),)

    def stage(self, i: int, x: Tensor) -> Tensor:
        if i == 0:
            x = F.relu(self.bn1(self.conv1(x)), inplace=True)
            return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        out: Tensor = self.get_submodule(self.stage_names[i])(x)
        return out

    def other_names(self) -> list[Mapping[str, str]]:
        """The numbering of those who put the layers into one Sequential, as Lightly's BYOL, and of
        CARL's release, which calls the trained ones of them `res_finetune`."""
        numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5"}
        numbers |= {"layer3": "6", "layer4": "7"}
        frozen = {kind: f"backbone.{number}" for kind, number in numbers.items()}
        four = frozen | {"layer4": "res_finetune"}
        three = frozen | {"layer3": "res_finetune.0", "layer4": "res_finetune.1"}
        split = [(name, *name.split(".", 1)) for name in self.state_dict()]
        return [
            {name: f"{firsts[first]}.{rest}" for name, first, rest in split}
            for firsts in (numbers, four, three)
        ]


def resnet18() -> ResNet:
    """ResNet-18, 11,176,512 parameters, 512 channels at the end."""
    return ResNet(BasicBlock, (2, 2, 2, 2))


def resnet50() -> ResNet:
    """ResNet-50, 23,508,032 parameters, 2048 channels at the end."""
    return ResNet(Bottleneck, (3, 4, 6, 3))
