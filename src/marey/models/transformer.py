"""The temporal transformer: every frame looks at every other frame of its video."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey.errors import ShapeError

Position = Literal["absolute", "rotary", "released"]

ROWS = 1024
"""At evaluation, rows of a video that pass a block of the transformer at a time."""


def stretched_sinusoids(
    rows: int, width: int, train_rows: int, *, released: bool = False
) -> Tensor:
    """(rows, width) sinusoidal positions, stretched to the training length.

    Row i of n stands at i (T - 1) / (n - 1), T the training length, as in CARL's released code
    (Chen et al., CVPR 2022, section 3.2): so the network is told which share of the video has
    passed. See `docs/clock.md` for what that does to scores.

    released: the cosines turn at rates between those of the sines, as in that code, instead of at
        the same ones, as is usual.
    """
    at = torch.arange(rows, dtype=torch.float64)
    # without a branch for a single row, so that one exported graph takes any number of them
    at = at * ((train_rows - 1) / at[-1:].clamp(min=1))
    turns = torch.arange(0, width, 2, dtype=torch.float64)
    rates = [10000.0 ** (-of / width) for of in (turns, turns + 1 if released else turns)]
    sines, cosines = (at[:, None] * rate for rate in rates)
    # the cosine as a sine: onnxruntime before 1.29 has none in double precision
    return torch.stack((sines.sin(), (cosines + math.pi / 2).sin()), -1).flatten(1).float()


def rotate(x: Tensor, times: Tensor) -> Tensor:
    """Rotary positions (Su et al., RoFormer, arXiv 2104.09864): turn pairs of channels by time.

    A product of two rotated vectors depends on the difference of their times alone, so nothing
    tells the network where in the video a frame lies.

    Args: x (B, heads, T, C), C even; times (B, T) in frames. Returns the shape and type of x.
    """
    half = x.shape[-1] // 2
    rate = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = times.float()[:, None, :, None] * rate
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


class Attention(nn.Module):
    """Multi-head self-attention through PyTorch's fused kernel; padded frames are not looked at."""

    def __init__(self, width: int, heads: int, dropout: float, rotary: bool) -> None:
        super().__init__()
        self.heads, self.dropout, self.rotary = heads, dropout, rotary
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, times: Tensor, valid: Tensor | None) -> Tensor:
        return self.attend(*self.project(x, times), valid)

    def project(self, x: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, width) to queries, keys and values, (B, heads, T, C) each."""
        batch, rows, _ = x.shape
        q, k, v = self.qkv(x).view(batch, rows, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.rotary:
            q, k = rotate(q, times), rotate(k, times)
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None) -> Tensor:
        """What the rows of q (B, heads, N, C) see among all, (B, N, width)."""
        mask = None if valid is None else valid[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        out: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Pre-norm transformer block: attention, then two linear layers with ReLU."""

    def __init__(
        self, width: int, heads: int, feedforward: int, dropout: float, rotary: bool
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout, rotary)
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward, width),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, times: Tensor, valid: Tensor | None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), times, valid))
        out: Tensor = x + self.dropout(self.feedforward(self.norm2(x)))
        return out

    def update(self, x: Tensor, times: Tensor, valid: Tensor | None) -> None:
        """`forward` at evaluation, in place: of a long video only x, its keys and its values are
        held whole, and all else for `ROWS` rows at a time."""
        parts = [slice(start, start + ROWS) for start in range(0, x.shape[1], ROWS)]
        batch, rows, width = x.shape
        heads = self.attention.heads
        k, v = x.new_empty(2, batch, heads, rows, width // heads)
        for part in parts:
            projected = self.attention.project(self.norm1(x[:, part]), times[:, part])
            k[:, :, part], v[:, :, part] = projected[1:]
        for part in parts:
            here = x[:, part]
            q, _, _ = self.attention.project(self.norm1(here), times[:, part])
            here += self.attention.attend(q, k, v, valid)
            here += self.feedforward(self.norm2(here))


class TemporalTransformer(nn.Module):
    """Pre-norm transformer over the frames of a video (CARL, section 3.2).

    Args:
        width: channels in and out.   train_rows: T, to which absolute positions are stretched.
        position: "absolute", as published; "rotary", relative times only; or "released", as in
            CARL's code, which has other cosines and no LayerNorm at the end.
    """

    def __init__(
        self,
        *,
        width: int = 256,
        layers: int = 3,
        heads: int = 8,
        feedforward: int = 1024,
        dropout: float = 0.1,
        position: Position = "absolute",
        train_rows: int = 80,
    ) -> None:
        super().__init__()
        self.position, self.train_rows = position, train_rows
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width, heads, feedforward, dropout, position == "rotary") for _ in range(layers)
        )
        self.norm = nn.Identity() if position == "released" else nn.LayerNorm(width)

    def forward(self, x: Tensor, times: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, T, width) to (B, T, width); times (B, T) in frames, valid (B, T) bool or None.

        Rows that are not valid come out finite and influence no other row.
        """
        if x.ndim != 3 or times.shape != x.shape[:2]:
            raise ShapeError(f"x must be (B, T, C) and times (B, T), not {tuple(x.shape)}")
        if self.position != "rotary":
            released = self.position == "released"
            rows, width = x.shape[1:]
            code = stretched_sinusoids(rows, width, self.train_rows, released=released)
            x = x + code.to(x.device, x.dtype)
        learning = self.training or torch.is_grad_enabled()
        # an exported graph takes any number of rows, and so cannot choose by it
        if torch.compiler.is_compiling() or learning or x.shape[1] <= ROWS:
            x = self.dropout(x)
            for block in self.blocks:
                x = block(x, times, valid)
        else:
            x = x.clone()
            for block in self.blocks:
                assert isinstance(block, Block)
                block.update(x, times, valid)
        out: Tensor = self.norm(x)
        return out
