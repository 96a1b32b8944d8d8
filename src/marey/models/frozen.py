"""A backbone's frozen stages as inference wants them: norms folded, weights rounded with care."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from marey import device
from marey.models.backbone import Backbone


class FrozenStages(nn.Module):
    """A copy of a backbone's first stages for inference, that returns the needed outputs.

    BatchNorm is folded into the convolutions (in float32); in bfloat16 all stages but the first
    `exact` have their weights, which are rounded so that the errors cancel on average.

    Args:
        needed: numbers of the stages whose outputs are wanted, in order.
        dtype: float32 or bfloat16.

    Attributes:
        exact: how many stages, from the first on, compute in float32.
        count: how many stages there are.
    """

    def __init__(self, backbone: Backbone, needed: Sequence[int], dtype: torch.dtype) -> None:
        super().__init__()
        self.needed = tuple(needed)
        self.dtype = dtype
        self.count = self.needed[-1] + 1
        rounded = dtype != torch.float32
        self.exact = min(backbone.exact_stages, self.count) if rounded else self.count
        self.stages = copy.deepcopy(backbone).eval().requires_grad_(False)
        for i in range(self.count, len(backbone.stage_names)):
            for module in self.stages.stage_modules(i):
                module.to("meta")  # weights that nobody runs
        _fold_norms(self.stages)
        if rounded:
            if backbone.exact_stages:
                _diffuse_rounding(self, dtype)
            for i in range(self.exact, self.count):
                for module in self.stages.stage_modules(i):
                    module.to(dtype)
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        for parameter in self.parameters():
            if parameter.ndim in formats:
                parameter.data = parameter.data.to(memory_format=formats[parameter.ndim])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) normalised pictures to the outputs of the needed stages."""
        outputs = []
        for i in range(self.count):
            x = self.stages.stage(i, x.to(self.dtype) if i == self.exact else x)
            if i in self.needed:
                outputs.append(x)
        return tuple(outputs)


def _fold_norms(module: nn.Module) -> None:
    """Replaces every convolution and the BatchNorm right behind it by one convolution.

    Right behind by order of registration, which in all backbones here is the order of use.
    """
    before, conv = "", None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d | nn.BatchNorm3d) and isinstance(
            conv, nn.Conv2d | nn.Conv3d
        ):
            setattr(module, before, fuse_conv_bn_eval(conv, child))
            setattr(module, name, nn.Identity())
        _fold_norms(child)
        before, conv = name, child


def _diffuse_rounding(frozen: FrozenStages, dtype: torch.dtype) -> None:
    """Rounds weights to what `dtype` can hold, so that the errors of a channel cancel on average.

    Each weight rounded on its own, their errors add up to a constant on the whole channel wherever
    the inputs are saturated (6, behind ReLU6), which the later stages amplify. So each weight takes
    over, within one unit of its last place, the error made so far (error diffusion). What an input
    is on average is measured on noise.
    """
    for conv, mean in _mean_inputs(frozen).items():
        assert conv.bias is not None  # of the folded BatchNorm
        weight = conv.weight.flatten(1).clone()
        kernel = weight.shape[1] // conv.weight.shape[1]
        each = mean[:, None] if conv.groups > 1 else mean.repeat_interleave(kernel)[None]
        each = each.expand_as(weight)
        error = conv.bias.to(dtype).float() - conv.bias
        for j in range(weight.shape[1]):
            wish = torch.where(each[:, j].abs() > 1e-3, -error / each[:, j], 0)
            room = weight[:, j].abs() * torch.finfo(dtype).eps / 2
            rounded = (weight[:, j] + wish.clamp(-room, room)).to(dtype).float()
            error += (rounded - weight[:, j]) * each[:, j]
            weight[:, j] = rounded
        conv.weight.copy_(weight.view_as(conv.weight))


def _mean_inputs(frozen: FrozenStages) -> dict[nn.Conv2d, Tensor]:
    """What the channels of the input of each convolution that is not exact are on average."""
    means: dict[nn.Conv2d, Tensor] = {}

    def measure(conv: nn.Conv2d, inputs: tuple[Tensor]) -> None:
        means[conv] = inputs[0].mean((0, 2, 3))

    convs = [
        module
        for i in range(frozen.exact, frozen.count)
        for part in frozen.stages.stage_modules(i)
        for module in part.modules()
        if isinstance(module, nn.Conv2d)
    ]
    hooks = [conv.register_forward_pre_hook(measure) for conv in convs]
    noise = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    noise = noise.to(next(frozen.parameters()).device)
    with device.one_thread():
        for i in range(frozen.count):
            noise = frozen.stages.stage(i, noise)
    for hook in hooks:
        hook.remove()
    return means
