"""MCL: an embedding for every clip, led by motion.

Li, Zhang, Qiu, Yao, Liu, Mei: Motion-Focused Contrastive Learning of Video Representations, ICCV
2021, arXiv 2201.04029.

Motion leads twice. It chooses what is contrasted: clips and crops are taken where optical flow has
boundaries (section 3.2, `marey.tubelets`). And it guides what is learned: the gradient of the
similarity of a query and its key, seen at the last convolution, must lie where the clip moves
(section 3.4, equations 7-12, `marey.losses.mcl.gradient_alignment`), which takes second derivatives
of the network. Around that stands MoCo's contrast with a slow copy of the network and a queue of
keys (section 3.3), within and between videos, and the order of clips.

An embedding is the backbone's features averaged over space and time; the heads serve the losses.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

from marey import distributed
from marey.augment import draw
from marey.config import ClipEncoderConfig, MclConfig, Recipe
from marey.errors import ConfigError
from marey.losses.mcl import Queue, gradient_alignment, inter_loss, intra_loss, order_loss
from marey.methods.base import ClipMethod, spread
from marey.models.clip_encoder import STRIDES, ClipEncoder
from marey.motion import MotionMaps, MotionSettings
from marey.tubelets import choose_box, choose_clips, clip_index
from marey.types import I64, Batch, StepOutput, VideoInfo, View


def settings(recipe: Recipe) -> tuple[MclConfig, ClipEncoderConfig]:
    """Raises ConfigError where the clip is too short for the network."""
    config, encoder = recipe.method, recipe.encoder
    assert isinstance(config, MclConfig)
    assert isinstance(encoder, ClipEncoderConfig)
    frames, pixels = STRIDES[encoder.backbone]
    if config.length < frames or encoder.size < pixels:
        raise ConfigError(
            f"{encoder.backbone} needs clips of at least {frames} frames and {pixels} pixels, not "
            f"{config.length} and {encoder.size}; raise --method.length or "
            "--encoder.size."
        )
    return config, encoder


class Mcl(ClipMethod):
    """Motion-focused contrast of a query tubelet against three keys."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.config, encoder = settings(recipe)
        heads = ["inter"]
        if self.config.intra:
            heads.append("intra")
        if self.config.order:
            heads.append("order")
            self.order = nn.Linear(3 * encoder.dimension, 2)
        self.encoder = ClipEncoder(encoder, heads, recipe.precision)
        self.slow = copy.deepcopy(self.encoder).requires_grad_(False)
        self.queue = Queue(self.config.queue, encoder.dimension)
        self.new_keys: list[Tensor] = []  # of the steps since `after_step`

    @classmethod
    def motion(cls, recipe: Recipe) -> MotionSettings | None:
        config, _ = settings(recipe)
        if not (config.focus_time or config.focus_space or config.aligned):
            return None
        return MotionSettings(config.engine, config.window, config.span)

    @classmethod
    def views(
        cls,
        recipe: Recipe,
        video: VideoInfo,
        rng: np.random.Generator,
        motion: MotionMaps | None = None,
    ) -> list[View]:
        """The four tubelets: query, another crop of its clip, and two clips of the other half."""
        config, encoder = settings(recipe)
        frames, span = video.frames, config.span
        scores = np.zeros(max(frames - span + 1, 1)) if motion is None else motion.scores
        clips = choose_clips(rng, scores, span=span, focus=config.focus_time, top=config.focus_top)
        each, cell = STRIDES[encoder.backbone]
        groups, cells = config.length // each, math.ceil(encoder.size / cell)
        views: list[View] = []
        for start in (clips.query, clips.query, *clips.keys):
            index = clip_index(start, frames, length=config.length, stride=config.stride)
            box = None
            if config.focus_space and motion is not None:
                box = choose_box(
                    rng,
                    motion.clip_map(index),
                    height=video.height,
                    width=video.width,
                    area=recipe.augment.area,
                    ratio=recipe.augment.ratio,
                )
            choice = draw(rng, recipe.augment, height=video.height, width=video.width, box=box)
            extra = {"order": np.array(clips.order)}
            if config.aligned and motion is not None:
                # only the query's is looked at
                extra["motion"] = (
                    np.zeros((groups, cells, cells), np.float32)
                    if views
                    else motion.st_map(index, choice.box, choice.flip, groups=groups, cells=cells)
                )
            views.append(View(index, np.ones(len(index), bool), choice, extra))
        return views

    def forward(self, batch: Batch) -> StepOutput:
        features, convolved = self.encoder(batch.inputs[:, 0])
        keys = self._keys(batch.inputs[:, 1:])
        with torch.autocast(features.device.type, enabled=False):  # similarities need float32
            return self._loss(features, convolved, keys, batch)

    def _loss(
        self, features: Tensor, convolved: Tensor, keys: dict[str, Tensor], batch: Batch
    ) -> StepOutput:
        config = self.config
        query = self.encoder.head("inter", features)
        loss = inter_loss(query, keys["inter"], self.queue.vectors, temperature=config.temperature)
        self.new_keys.append(distributed.gather(keys["inter"].transpose(0, 1)).transpose(0, 1))
        terms = {"inter": loss}
        if config.aligned:
            # the similarity that is explained by the gradient, not divided by the temperature
            similarity = (query * keys["inter"][0]).sum()
            (gradient,) = torch.autograd.grad(similarity, convolved, create_graph=True)
            aligned = gradient_alignment(gradient, batch.extra["motion"][:, 0])
            warm = batch.progress < self.recipe.optimizer.warmup
            for name in ("spatiotemporal", "spatial", "temporal"):
                terms[name] = getattr(aligned, name).mean()
                weight = getattr(config, name) * (config.warm_alignment if warm else 1)
                loss = loss + weight * (1 - terms[name])
        if config.intra:
            terms["intra"] = intra_loss(
                self.encoder.head("intra", features), keys["intra"], temperature=config.temperature
            )
            loss = loss + config.intra * terms["intra"]
        if config.order:
            terms["order"] = order_loss(
                self.encoder.head("order", features),
                keys["order"][1:],
                batch.extra["order"][:, 0],
                self.order,
            )
            loss = loss + config.order * batch.progress * terms["order"]
        return StepOutput(loss, {name: term.detach() for name, term in terms.items()})

    @torch.no_grad()
    def _keys(self, clips: Tensor) -> dict[str, Tensor]:
        """(B, 3, T, 3, H, W) to the slow network's keys, (3, B, D) for each head.

        BatchNorm could tell which clips come from one process; so they are dealt anew (MoCo).
        """
        dealt, back = distributed.shuffle(clips.flatten(0, 1))
        features, _ = self.slow(dealt)
        return {
            name: back(self.slow.head(name, features)).unflatten(0, (len(clips), 3)).transpose(0, 1)
            for name in self.slow.heads
        }

    @torch.no_grad()
    def after_step(self) -> None:
        """Moves the slow network after the trained one, and the new keys into the queue."""
        fast, slow = tuple(self.encoder.parameters()), tuple(self.slow.parameters())
        torch._foreach_lerp_(slow, fast, 1 - self.config.momentum)
        self.queue.enqueue(torch.cat(self.new_keys, 1))
        self.new_keys.clear()

    @classmethod
    def units(cls, recipe: Recipe, frames: int, count: int | None = None) -> I64:
        """Clips every `every` frames, the last one at the end; or `count` of all possible ones."""
        config, _ = settings(recipe)
        places = max(frames - config.span + 1, 1)
        starts = spread(places, count)
        if count is None:
            starts = np.unique(np.append(starts[:: config.every], places - 1))
        return np.stack(
            [clip_index(s, frames, length=config.length, stride=config.stride) for s in starts]
        )


METHOD = Mcl
