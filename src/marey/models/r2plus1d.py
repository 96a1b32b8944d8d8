"""R(2+1)D networks: 3x3x3 convolutions taken apart into space and time.

Tran, Wang, Torresani, Ray, LeCun, Paluri: A Closer Look at Spatiotemporal Convolutions for Action
Recognition, CVPR 2018, arXiv 1711.11248. Two families:

- `InflatedResNet`: MCL's network (Li et al., ICCV 2021), a ResNet whose every 3x3 convolution is
  followed by one of 3x1x1, with the parameter names of the authors' release, so that the picture
  network it grows from (`inflate`) keeps its own names too;
- `R2Plus1D18`: as the field knows it, with a middle width chosen to keep the parameters of the
  full 3x3x3, under the parameter names that published weights use.

All map (B, 3, T, H, W) to features (B, C, S, h, w), and give on request what the last convolution
puts out before its BatchNorm: there MCL takes the gradient of the similarity.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey.errors import CheckpointError, ShapeError


class VideoNetwork(nn.Module):
    """From clips to features on a grid of time and space.

    channels: C, of the features.
    strides: input frames per slice and pixels per cell: S = T / strides[0], h = H / strides[1].
    """

    channels: int
    strides: tuple[int, int]

    def forward(self, clips: Tensor) -> Tensor:
        """(B, 3, T, H, W) normalised pixels to features (B, C, S, h, w)."""
        return self.features(clips)[0]

    def features(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """The features, and the last convolution's output before its BatchNorm, of equal shape.

        The features depend on the second through the graph, so that the gradient of anything made
        of them can be taken there. Raises ShapeError for clips of another shape.
        """
        if clips.ndim != 5 or clips.shape[1] != 3 or clips.shape[2] < self.strides[0]:
            raise ShapeError(
                f"clips must be (B, 3, T, H, W) with T >= {self.strides[0]}, "
                f"not {tuple(clips.shape)}"
            )
        *blocks, last = self.blocks()
        x = self.stem_features(clips)
        for block in blocks:
            x = block(x)
        convolved = last.convolved(x)
        return last.joined(convolved, x), convolved

    @abstractmethod
    def stem_features(self, clips: Tensor) -> Tensor:
        """What enters the first residual block."""

    @abstractmethod
    def blocks(self) -> list[_Block]:
        """All residual blocks in order."""

    def initialise(self) -> None:
        """He initialisation over a convolution's outputs, as in the published training codes."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class _Block(nn.Module):
    """A residual block that can be stopped after its last convolution."""

    downsample: nn.Module | None

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(self.convolved(x), x)

    @abstractmethod
    def convolved(self, x: Tensor) -> Tensor:
        """The last convolution's output."""

    @abstractmethod
    def last_norm(self) -> nn.Module:
        """The BatchNorm after it."""

    def joined(self, convolved: Tensor, x: Tensor) -> Tensor:
        """Normalised and added to the shortcut of the block's input x."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.last_norm()(convolved) + shortcut)


class _Convolution(nn.Conv3d):
    """A convolution, padded by half its kernel, that pads by itself what is smaller than that.

    Of such inputs oneDNN's gradient of the weights in bfloat16 holds memory that nobody wrote, on
    processors that have AVX512-BF16 and no AMX (`docs/log.md`).
    """

    def forward(self, x: Tensor) -> Tensor:
        if all(size >= kernel for size, kernel in zip(x.shape[2:], self.kernel_size, strict=True)):
            return super().forward(x)
        edges = [kernel // 2 for kernel in reversed(self.kernel_size) for _ in range(2)]
        return F.conv3d(F.pad(x, edges), self.weight, self.bias, self.stride)


def _space(inputs: int, outputs: int, stride: int = 1) -> nn.Conv3d:
    return _Convolution(inputs, outputs, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)


def _time(inputs: int, outputs: int, stride: int = 1) -> nn.Conv3d:
    return _Convolution(inputs, outputs, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)


def _point(inputs: int, outputs: int, stride: tuple[int, int, int] = (1, 1, 1)) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, 1, stride, bias=False)


class InflatedBasicBlock(_Block):
    """Two pairs of 1x3x3 and 3x1x1."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1, self.conv1_t = _space(inputs, width, stride), _time(width, width)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2, self.conv2_t = _space(width, width), _time(width, width)
        self.bn2 = nn.BatchNorm3d(width)
        self.downsample = downsample

    def convolved(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1_t(self.conv1(x))))
        out: Tensor = self.conv2_t(self.conv2(x))
        return out

    def last_norm(self) -> nn.Module:
        return self.bn2


class InflatedBottleneck(_Block):
    """1x1x1, the pair of 1x3x3 and 3x1x1, 1x1x1."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = _point(inputs, width)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2, self.conv2_t = _space(width, width, stride), _time(width, width)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = _point(width, width * self.expansion)
        self.bn3 = nn.BatchNorm3d(width * self.expansion)
        self.downsample = downsample

    def convolved(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2_t(self.conv2(x))))
        out: Tensor = self.conv3(x)
        return out

    def last_norm(self) -> nn.Module:
        return self.bn3


class InflatedResNet(VideoNetwork):
    """MCL's R(2+1)D (section 4.1): time is cut into slices of 4 frames by the stem, and kept.

    Args:
        block: the residual block.
        depths: blocks of each layer; each layer after the first halves height and width.
        width: channels of the stem; each layer doubles them.
    """

    def __init__(
        self,
        block: type[InflatedBasicBlock | InflatedBottleneck],
        depths: Sequence[int],
        width: int = 64,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, (4, 7, 7), (4, 2, 2), (0, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        channels = width
        for i, depth in enumerate(depths):
            made: list[_Block] = []
            for j in range(depth):
                inner, stride = width << i, 2 if i > 0 and j == 0 else 1
                outputs = inner * block.expansion
                shortcut = None
                if stride != 1 or channels != outputs:
                    shortcut = nn.Sequential(
                        _point(channels, outputs, (1, stride, stride)), nn.BatchNorm3d(outputs)
                    )
                made.append(block(channels, inner, stride, shortcut))
                channels = outputs
            self.add_module(f"layer{i + 1}", nn.Sequential(*made))
        self.layers = len(depths)
        self.channels, self.strides = channels, (4, 2 << len(depths))
        self.initialise()

    def stem_features(self, clips: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(clips)))
        return F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))

    def blocks(self) -> list[_Block]:
        return _blocks(self, self.layers)


class R2Plus1DBlock(_Block):
    """Two convolutions of 3x3x3, each taken apart into space and time around a BatchNorm."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        # the number of channels between that keeps the parameters of 3x3x3
        middle = inputs * outputs * 27 // (inputs * 9 + 3 * outputs)
        first = _apart(inputs, outputs, middle, stride)
        self.conv1 = nn.Sequential(first, nn.BatchNorm3d(outputs), nn.ReLU())
        self.conv2 = nn.Sequential(_apart(outputs, outputs, middle), nn.BatchNorm3d(outputs))
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(
                _point(inputs, outputs, (stride, stride, stride)), nn.BatchNorm3d(outputs)
            )

    def convolved(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2[0](self.conv1(x))
        return out

    def last_norm(self) -> nn.Module:
        return self.conv2[1]


def _apart(inputs: int, outputs: int, middle: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        _space(inputs, middle, stride),
        nn.BatchNorm3d(middle),
        nn.ReLU(),
        _time(middle, outputs, stride),
    )


class R2Plus1D18(VideoNetwork):
    """R(2+1)D-18: time is halved together with space, 16 frames of 112 pixels give 2 x 7 x 7."""

    channels = 512
    strides = (8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
            nn.BatchNorm3d(45),
            nn.ReLU(),
            _time(45, 64),
            nn.BatchNorm3d(64),
            nn.ReLU(),
        )
        channels = 64
        for i in range(4):
            outputs, stride = 64 << i, 1 if i == 0 else 2
            layer = nn.Sequential(
                R2Plus1DBlock(channels, outputs, stride), R2Plus1DBlock(outputs, outputs, 1)
            )
            self.add_module(f"layer{i + 1}", layer)
            channels = outputs
        self.initialise()

    def stem_features(self, clips: Tensor) -> Tensor:
        out: Tensor = self.stem(clips)
        return out

    def blocks(self) -> list[_Block]:
        return _blocks(self, 4)


def _blocks(network: nn.Module, layers: int) -> list[_Block]:
    return [
        block
        for i in range(layers)
        for block in network.get_submodule(f"layer{i + 1}").children()
        if isinstance(block, _Block)
    ]


def r2plus1d_50() -> InflatedResNet:
    """MCL's network: 16 x 224 x 224 to 2048 x 4 x 7 x 7."""
    return InflatedResNet(InflatedBottleneck, (3, 4, 6, 3))


def r2plus1d_18() -> R2Plus1D18:
    """R(2+1)D-18, 31,300,125 parameters: 16 x 112 x 112 to 512 x 2 x 7 x 7."""
    return R2Plus1D18()


def r2plus1d_small() -> InflatedResNet:
    """MCL's network made small, for a processor of few cores: 16 x 112 x 112 to 128 x 4 x 7 x 7."""
    return InflatedResNet(InflatedBasicBlock, (2, 2, 2), width=32)


def inflate(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a picture ResNet for the `InflatedResNet` of the same blocks (MCL, section 4.1).

    The stem's weight stands in slot 1 of its 4 frames, every 3x1x1 passes the middle frame on:
    before training the network sees pictures, one in four, and nothing of time.

    weights: `conv1.weight`, `bn1.*`, `layer1.0.conv2.weight`, ...; a classifier `fc.*` is left out.
    Raises CheckpointError for a convolution that no ResNet has.
    """
    inflated = {}
    for name, weight in weights.items():
        if name.startswith("fc."):
            continue
        if weight.ndim != 4:
            inflated[name] = weight
            continue
        outputs, inputs, side = weight.shape[:3]
        if side == 7:
            stem = weight.new_zeros(outputs, inputs, 4, 7, 7)
            stem[:, :, 1] = weight
            inflated[name] = stem
        elif side in (1, 3):
            inflated[name] = weight.unsqueeze(2)
        else:
            raise CheckpointError(
                f"{name} is a convolution of {tuple(weight.shape)}, which no ResNet has; "
                "give the weights of a ResNet-18 or ResNet-50"
            )
        if side == 3:
            keep = weight.new_zeros(outputs, outputs, 3, 1, 1)
            keep[:, :, 1, 0, 0] = torch.eye(outputs, dtype=weight.dtype, device=weight.device)
            inflated[name.removesuffix(".weight") + "_t.weight"] = keep
    return inflated
