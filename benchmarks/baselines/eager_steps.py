"""Training steps as they are usually written: float32, the network as it is, contiguous tensors."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from baselines.dense_loss import dense_loss
from marey.methods.base import Method
from marey.methods.carl import Carl, settings
from marey.methods.mcl import Mcl
from marey.types import Batch


class EagerStep:
    """Steps of a copy of a method, so that the original's weights stay."""

    def __init__(self, method: Method) -> None:
        self.method = copy.deepcopy(method).to(memory_format=torch.contiguous_format).train()
        weights = [p for p in self.method.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(weights, 1e-4)

    def __call__(self, batch: Batch) -> float:
        batch = replace(batch, inputs=batch.inputs.float().contiguous())
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.method.after_step()
        return float(loss.detach())

    def loss(self, batch: Batch) -> Tensor:
        if isinstance(self.method, Mcl):
            return self.method(batch).loss
        assert isinstance(self.method, Carl)
        encoder, (videos, views, frames) = self.method.encoder, batch.index.shape
        maps = encoder.backbone(batch.inputs.flatten(0, 2))[-1]
        features = maps.amax((2, 3)).view(videos * views, frames, -1)
        rows = encoder.head(features, batch.index.flatten(0, 1), batch.valid.flatten(0, 1))
        z = self.method.projection(rows.view(videos, views, frames, -1))
        config = settings(self.method.recipe)
        return dense_loss(z, batch.index, batch.valid, config.variance, config.temperature)
