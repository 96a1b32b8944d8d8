"""Vision transformers: ViT (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929) as DINO (Caron et al.,
ICCV 2021, arXiv 2104.14294) trained it, and with the scaled branches of DINOv2 (Oquab et al., TMLR
2024, arXiv 2304.07193), without registers.

The parameter names are those that DINO, DINOv2 and timm publish weights under.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey.errors import ShapeError
from marey.models.backbone import Backbone

_STAGES = 4
"""Into so many stages the blocks are divided, as many as a ResNet has layers."""

_OFFSET = 0.1
"""What DINO and DINOv2 add to the number of cells before they divide, against rounding."""


class _Norm(nn.LayerNorm):
    """Layer normalisation of a float32 stream, for layers of another precision."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        y = F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps)
        return y.to(self.weight.dtype)


class _Attention(nn.Module):
    """Multi-head self-attention through PyTorch's fused kernel."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(y.transpose(1, 2).flatten(2))
        return out


class _Mlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _LayerScale(nn.Module):
    """A factor for each channel (Touvron et al., CaiT, ICCV 2021)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Block(nn.Module):
    """Pre-norm transformer block; the stream of tokens itself stays float32."""

    def __init__(self, width: int, heads: int, scaled: bool) -> None:
        super().__init__()
        self.norm1, self.attn = _Norm(width), _Attention(width, heads)
        self.ls1 = _LayerScale(width) if scaled else nn.Identity()
        self.norm2, self.mlp = _Norm(width), _Mlp(width)
        self.ls2 = _LayerScale(width) if scaled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class VisionTransformer(Backbone):
    """Stages `patches` and `blocks3`, `blocks6`, `blocks9`, `blocks12`, all of one stride.

    What a stage hands on are the tokens of all patches and the class token; its map, as `as_map`
    gives it, are the patches' tokens behind the network's last LayerNorm, whichever the stage, as
    in DINO's own evaluations of several layers.

    Pictures may have any size that the patches fill; the positions, learned for `native` pixels,
    are stretched to it (bicubic, as DINO does).

    Args:
        width: channels.   heads: of the attention, 64 channels each.
        patch: pixels of a patch's side.   native: pixels of the pictures it was published for.
        scaled: whether each branch has a LayerScale, as in DINOv2.
    """

    def __init__(
        self, width: int, heads: int, patch: int, native: int, *, scaled: bool, depth: int = 12
    ) -> None:
        super().__init__()
        self.patch, self.cells, self.each = patch, native // patch, depth // _STAGES
        ends = range(self.each, depth + 1, self.each)
        self.stage_names = ("patches", *(f"blocks{end}" for end in ends))
        self.stage_channels = (width,) * (_STAGES + 1)
        self.stage_strides = (patch,) * (_STAGES + 1)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.cells**2, width))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.ModuleList(_Block(width, heads, scaled) for _ in range(depth))
        self.norm = _Norm(width)
        self.initialise()

    @property
    def grid_stages(self) -> tuple[int, int]:
        """The stages at half and three quarters of the depth, where a ResNet has its layer2 and
        layer3: strides tell nothing apart here."""
        return 2, 3

    def stage_modules(self, i: int) -> tuple[nn.Module, ...]:
        if i == 0:
            return (self.patch_embed,)
        blocks = tuple(self.blocks[(i - 1) * self.each : i * self.each])
        return (*blocks, self.norm) if i == _STAGES else blocks

    def stage(self, i: int, x: Tensor) -> Tensor:
        """Tokens (N, 1 + h, w, C): h rows of patches below one that the class token begins and
        zeros fill."""
        if i == 0:
            return self._tokens(x)
        wide = x.shape[2]
        flat = x.flatten(1, 2)
        tokens = torch.cat((flat[:, :1], flat[:, wide:]), 1)
        for block in self.blocks[(i - 1) * self.each : i * self.each]:
            tokens = block(tokens)
        return _in_rows(tokens, wide)

    def as_map(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x[:, 1:]).permute(0, 3, 1, 2)
        return out

    def _tokens(self, pictures: Tensor) -> Tensor:
        high, wide = pictures.shape[-2:]
        if high % self.patch or wide % self.patch:
            raise ShapeError(
                f"Pictures of {wide} x {high} pixels cannot be cut into patches of {self.patch}; "
                f"give --encoder.size a multiple of {self.patch}."
            )
        patches = self.patch_embed.get_submodule("proj")(pictures).flatten(2).transpose(1, 2)
        place = self._places(high // self.patch, wide // self.patch)
        first = self.cls_token.float().expand(patches.shape[0], -1, -1)
        return _in_rows(torch.cat((first, patches.float()), 1) + place, wide // self.patch)

    def _places(self, high: int, wide: int) -> Tensor:
        """(1, 1 + high * wide, C) positions, stretched to a grid of so many cells."""
        place = self.pos_embed.float()
        if (high, wide) == (self.cells, self.cells):
            return place
        grid = place[:, 1:].unflatten(1, (self.cells, self.cells)).permute(0, 3, 1, 2)
        factors = ((high + _OFFSET) / self.cells, (wide + _OFFSET) / self.cells)
        grid = F.interpolate(grid, scale_factor=factors, mode="bicubic")
        return torch.cat((place[:, :1], grid.flatten(2).transpose(1, 2)), 1)

    def initialise(self) -> None:
        """Random weights, as in DINO: normal with a deviation of 0.02, biases 0."""
        for parameter in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def _in_rows(tokens: Tensor, wide: int) -> Tensor:
    """(N, 1 + h w, C) to (N, 1 + h, w, C)."""
    fill = tokens.new_zeros(tokens.shape[0], wide - 1, tokens.shape[2])
    out: Tensor = torch.cat((tokens[:, :1], fill, tokens[:, 1:]), 1).unflatten(1, (-1, wide))
    return out


def vit_s16() -> VisionTransformer:
    """ViT-S/16, 21,665,664 parameters, 384 channels."""
    return VisionTransformer(384, 6, 16, 224, scaled=False)


def vit_b16() -> VisionTransformer:
    """ViT-B/16, 85,798,656 parameters, 768 channels."""
    return VisionTransformer(768, 12, 16, 224, scaled=False)


def dinov2_s14() -> VisionTransformer:
    """DINOv2 ViT-S/14, 22,056,192 parameters, 384 channels."""
    return VisionTransformer(384, 6, 14, 518, scaled=True)


def dinov2_b14() -> VisionTransformer:
    """DINOv2 ViT-B/14, 86,579,712 parameters, 768 channels."""
    return VisionTransformer(768, 12, 14, 518, scaled=True)
