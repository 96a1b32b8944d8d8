"""Small networks on top of a backbone's features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey.config import EncoderConfig
from marey.models.transformer import TemporalTransformer


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation of (..., C) rows over all leading axes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


class MotionHead(nn.Module):
    """Three small convolutions over a grid of flow, which keep where in it things move.

    Flow has long tails: beyond a few standard deviations it is cut off.
    """

    WIDTH, KEPT, TAIL = 32, 24, 6.0

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.scale = nn.BatchNorm2d(2, affine=False)
        wide = 2 * self.WIDTH

        def layer(channels: int, out: int, stride: int) -> list[nn.Module]:
            conv = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
            return [conv, nn.BatchNorm2d(out), nn.ReLU()]

        self.layers = nn.Sequential(
            *layer(2, self.WIDTH, 1),
            *layer(self.WIDTH, wide, 2),
            *layer(wide, wide, 1),
            nn.Conv2d(wide, self.KEPT, 1),
        )
        self.out = self.KEPT * ((cells + 1) // 2) ** 2

    def forward(self, flow: Tensor) -> Tensor:
        """(..., 2 * cells^2) to (..., out)."""
        grid = flow.reshape(-1, 2, self.cells, self.cells)
        grid = self.scale(grid).clamp(-self.TAIL, self.TAIL)
        grid = grid.contiguous(memory_format=torch.channels_last)  # convolutions are twice as fast
        out: Tensor = self.layers(grid).flatten(1)
        return out.view(*flow.shape[:-1], -1)


class FrameHead(nn.Module):
    """Features of frames to embeddings: linear layers, the transformer, a linear layer.

    CARL, section 3.2: twice, or as often as the settings say, (dropout, linear, BatchNorm, ReLU),
    linear to the transformer's width, transformer, linear to D. Where frames have motion,
    convolutions look at it first.

    Args:
        features: channels of a frame's features, motion among them.
        train_rows: T, to which absolute positions are stretched.
    """

    def __init__(self, features: int, config: EncoderConfig, train_rows: int) -> None:
        super().__init__()
        self.motion = MotionHead(config.motion) if config.motion else None
        self.motion_alone = config.motion_alone
        if self.motion is not None:
            self.pictures = features - 2 * config.motion**2
            features = self.pictures + self.motion.out
        self.project = nn.Sequential()
        for _ in range(config.hidden_layers):
            self.project.extend(
                (
                    nn.Dropout(config.dropout),
                    nn.Linear(features, config.hidden),
                    RowNorm(config.hidden),
                    nn.ReLU(),
                )
            )
            features = config.hidden
        self.project.append(nn.Linear(features, config.width))
        self.transformer = TemporalTransformer(
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            feedforward=config.feedforward,
            dropout=config.dropout,
            position=config.position,
            train_rows=train_rows,
        )
        self.embed = nn.Linear(config.width, config.dimension)

    def forward(self, features: Tensor, times: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, T, F) features at `times` (B, T), in frames, to (B, T, D), not normalised."""
        return self.relate(self.condense(features), times, valid)

    def condense(self, features: Tensor) -> Tensor:
        """(..., F) features to the transformer's (..., width), each row alone."""
        if self.motion is not None:
            moving = self.motion(features[..., self.pictures :])
            pictures = features[..., : self.pictures]
            if self.training and self.motion_alone:
                seen = torch.rand(*pictures.shape[:-2], 1, 1, device=pictures.device)
                # The mean of all rows and not zeros: rows of two kinds would set the scale of
                # RowNorm, and hundreds of steps pass before it sees what differs within a video.
                average = pictures.mean(tuple(range(pictures.ndim - 1)))
                pictures = torch.where(seen >= self.motion_alone, pictures, average)
            features = torch.cat((pictures, moving), -1)
        rows: Tensor = self.project(features)
        return rows

    def relate(self, rows: Tensor, times: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, T, width) rows at `times` to (B, T, D): every row looks at every other."""
        out: Tensor = self.embed(self.transformer(rows, times, valid))
        return out


class ProjectionHead(nn.Module):
    """Linear, BatchNorm, ReLU, linear, unit norm; used by the loss only (SimCLR's habit)."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dimension, dimension),
            RowNorm(dimension),
            nn.ReLU(),
            nn.Linear(dimension, dimension),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.layers(x), dim=-1)
