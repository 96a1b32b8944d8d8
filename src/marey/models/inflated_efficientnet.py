"""EfficientNet-Lite0 that sees time: a small video network which starts from ImageNet.

MCL (Li et al., ICCV 2021, section 4.1) grows its R(2+1)D from a ResNet: time is cut into slices of
4 frames by the stem, every 3x3 is followed by a 3x1x1 that at first passes the middle slice on, and
the stem looks at one frame in four. The same is done here to a network made for small devices,
whose ImageNet weights come with a package. Its 3x3 and 5x5 are depthwise, and so are the 3x1x1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey.models.backbone import build
from marey.models.efficientnet import EfficientNetLite0, MBConv
from marey.models.r2plus1d import VideoNetwork

SLICE = 4  # frames that the stem makes one of
SLOT = 1  # the one of them that it sees at first


class TimeMix(nn.Module):
    """Depthwise convolution over 3 slices of time, at first the identity.

    weight: (C, 3), of the slice before, the slice itself, and the slice after.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.0, 1.0, 0.0]).repeat(channels, 1))

    def forward(self, x: Tensor, slices: int) -> Tensor:
        """(B * S, C, H, W), the slices of a clip one after the other, to the same."""
        x = x.unflatten(0, (-1, slices))
        before, here, after = self.weight[..., None, None].unbind(1)
        first = F.pad(x[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
        last = F.pad(x[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1))
        return (first * before + x * here + last * after).flatten(0, 1)


class InflatedEfficientNet(VideoNetwork):
    """16 x 128 x 128 to 1280 x 4 x 4 x 4.

    Args:
        weights: as for the picture network: "package", "random" or a file.
    """

    def __init__(self, weights: str = "package") -> None:
        super().__init__()
        picture = build("efficientnet_lite0", weights)
        assert isinstance(picture, EfficientNetLite0)
        self.picture = picture
        self.channels, self.strides = picture.stage_channels[-1], (SLICE, picture.stage_strides[-1])
        stem = picture.get_parameter("stem.0.weight").detach()
        wide = stem.new_zeros(len(stem), SLICE, *stem.shape[1:])
        wide[:, SLOT] = stem
        # the stem takes the frames of a slice as if they were channels
        picture.stem[0].weight = nn.Parameter(wide.flatten(1, 2))
        picture.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mixes = nn.ModuleList(
            TimeMix(block.depthwise_bn.num_features) for block in self._blocks()
        )

    def _blocks(self) -> list[MBConv]:
        return [module for module in self.picture.modules() if isinstance(module, MBConv)]

    def features(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        self.check(clips)
        picture = self.picture
        slices = clips.shape[2] // SLICE
        frames = clips[:, :, : slices * SLICE].transpose(1, 2) * picture.scale + picture.shift
        # (B * S, 4 * 3, H, W): in memory the four frames of a slice stay apart until here
        x = frames.unflatten(1, (slices, SLICE)).flatten(2, 3).flatten(0, 1)
        x = picture.stem(x.contiguous(memory_format=torch.channels_last))
        for block, mix in zip(self._blocks(), self.mixes, strict=True):
            x = block(x, lambda y, mix=mix: mix(y, slices))
        conv, norm, activation = picture.head
        convolved = conv(x).unflatten(0, (-1, slices)).transpose(1, 2)
        features = activation(norm(convolved.transpose(1, 2).flatten(0, 1)))
        return features.unflatten(0, (-1, slices)).transpose(1, 2), convolved
