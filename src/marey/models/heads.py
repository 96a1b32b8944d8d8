"""Small networks on top of a backbone's features."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from marey.config import EncoderConfig
from marey.models.transformer import TemporalTransformer


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation of (..., C) rows over all leading axes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


class FrameHead(nn.Module):
    """Features of frames to embeddings: two linear layers, the transformer, a linear layer.

    CARL, section 3.2: twice (dropout, linear, BatchNorm, ReLU), linear to the transformer's
    width, transformer, linear to D.

    Args:
        features: channels of a frame's pooled features.
        train_rows: T, to which absolute positions are stretched.
    """

    def __init__(self, features: int, config: EncoderConfig, train_rows: int) -> None:
        super().__init__()
        hidden = config.hidden
        self.project = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(features, hidden),
            RowNorm(hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(hidden, hidden),
            RowNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, config.width),
        )
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
        out: Tensor = self.embed(self.transformer(self.project(features), times, valid))
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
