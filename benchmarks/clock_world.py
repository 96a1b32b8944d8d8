"""A little world of trimmed videos, what a network may be shown of it, and its training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from marey.augment import augment, draw, plain
from marey.config import CarlConfig, EncoderConfig, Recipe
from marey.evaluation.frames import phase_progress, shift
from marey.methods import build
from marey.methods.base import Method
from marey.models.transformer import Position
from marey.recipes import carl
from marey.sampling import schedule, two_blocks
from marey.synthetic.world import sample_video
from marey.types import F64, I64, Batch

RATE = 20.0  # frames per second: a trimmed action has 20 to 60 frames
ACTIONS = ("squat_press", "golf_swing", "tennis_serve", "pitch")
POSITIONS = ("absolute", "rotary")


@dataclass(frozen=True)
class Scale:
    """How much is done. train, test: videos of each action.  copies: augmented looks of each.
    steps: of a training.  long, short: frames of a view, more and fewer than a video has."""

    train: int = 10
    test: int = 6
    copies: int = 2
    steps: int = 200
    long: int = 60
    short: int = 12
    side: int = 96


@dataclass(frozen=True)
class Video:
    """A trimmed video. features: (1 + copies, n, F), the first of it as it is.
    part: what is left of it when shifted."""

    action: str
    features: Tensor
    phases: I64
    progress: F64
    part: slice

    def __len__(self) -> int:
        return len(self.phases)


Look = Callable[[Video, I64, np.random.Generator], Tensor]
"""What a network is shown instead of frames (T,) of a video: (T, F)."""


def recipe(position: Position, frames: int, side: int, seed: int) -> Recipe:
    """CARL on a small encoder, with views of so many frames."""
    base = carl()
    encoder = EncoderConfig(
        size=side,
        pool="grid",
        hidden=256,
        width=128,
        layers=2,
        heads=4,
        feedforward=256,
        dropout=0.0,
        position=position,
    )
    optimizer = replace(base.optimizer, lr=1e-3, warmup=0.05)
    return replace(
        base,
        encoder=encoder,
        method=CarlConfig(frames=frames),
        optimizer=optimizer,
        data=replace(base.data, copies=3),
        seed=seed,
        precision="fp32",  # the same on processors with bfloat16 and without
    )


def make_world(scale: Scale, seed: int) -> tuple[list[Video], list[Video]]:
    """Videos to learn from and to score, cut to where the action begins and ends."""
    settings = recipe("rotary", scale.long, scale.side, seed)
    eyes = build(settings).eval()
    sides: list[list[Video]] = []
    for split, count in enumerate((scale.train, scale.test)):
        videos = []
        for kind, action in enumerate(ACTIONS):
            for number in range(count):
                rng = np.random.default_rng([seed, split, kind, number])
                made = sample_video(rng, action, size=(scale.side, scale.side), fps=(RATE,))
                first, *inner, end = made.boundaries.tolist()
                pixels = torch.from_numpy(made.pixels[first:end].copy())
                looks = [plain(pixels, scale.side)]
                for _ in range(0 if split else scale.copies):
                    change = draw(rng, settings.augment, height=scale.side, width=scale.side)
                    looks.append(augment([pixels], [change], scale.side)[0])
                with torch.inference_mode():
                    features = torch.stack([eyes.features(look[:, None]) for look in looks])
                inside = [b - first for b in inner]
                phases = np.searchsorted(inside, np.arange(end - first), side="right")
                progress = phase_progress(inside, end - first)
                part = shift(end - first, rng)
                videos.append(Video(action, features.clone(), phases, progress, part))
        sides.append(videos)
    return sides[0], sides[1]


def frames_of(video: Video, index: I64, rng: np.random.Generator) -> Tensor:
    """The real thing: the frames in one augmented look."""
    return video.features[int(rng.integers(1, len(video.features)))][torch.from_numpy(index)]


def noise_like(videos: Sequence[Video]) -> Look:
    """Random features with the mean and spread of real ones, others each time they are asked."""
    every = torch.cat([video.features[0] for video in videos])
    mean, spread = every.mean(0), every.std(0)

    def look(video: Video, index: I64, rng: np.random.Generator) -> Tensor:
        drawn = rng.standard_normal((len(index), len(mean)), dtype=np.float32)
        return mean + spread * torch.from_numpy(drawn)

    return look


def shuffled(video: Video, index: I64, rng: np.random.Generator) -> Tensor:
    """The frames of a video in random order: what they show says nothing about their place."""
    return video.features[0][torch.from_numpy(rng.permutation(len(video))[index])]


def train(settings: Recipe, videos: Sequence[Video], look: Look, steps: int) -> tuple[Method, F64]:
    """A method trained on what `look` shows of the videos, and the loss of every step."""
    method = build(settings).train()
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-3, weight_decay=1e-5)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for step in range(steps):
        batch = views(settings, videos, look, step)
        loss = method(batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 10)
        optimizer.step()
        falling.step()
        losses.append(float(loss.detach()))
    return method.eval(), np.array(losses)


def views(settings: Recipe, videos: Sequence[Video], look: Look, step: int) -> Batch:
    """What a step sees: two views of each of some videos, a function of seed and step."""
    assert isinstance(settings.method, CarlConfig)
    rng = np.random.default_rng([settings.seed, step])
    chosen = [videos[i] for i in schedule(len(videos), settings.data.videos, step, settings.seed)]
    rows, index, valid = [], [], []
    for video in chosen:
        for at, real in two_blocks(
            len(video), settings.method.frames, rng, stretch=1.5, overlap=0.2
        ):
            rows.append(look(video, at, rng))
            index.append(torch.from_numpy(at))
            valid.append(torch.from_numpy(real))
    two = (len(chosen), 2)
    return Batch(
        torch.stack(rows).unflatten(0, two),
        True,
        torch.stack(index).unflatten(0, two),
        torch.stack(valid).unflatten(0, two),
        torch.tensor([len(video) for video in chosen]),
        torch.full((len(chosen),), -1),
        [video.action for video in chosen],
    )
