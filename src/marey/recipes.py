"""Whole trainings under a name. Nothing here imports torch: `marey train --help` reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from marey.config import CarlConfig, DataConfig, EncoderConfig, OptimizerConfig, Recipe


def carl() -> Recipe:
    """CARL as published (CVPR 2022): absolute positions, sequence contrast, Adam at 1e-4.

    Two departures, so that it runs anywhere: the backbone is EfficientNet-Lite0 with the ImageNet
    weights its package ships, wholly frozen, and its features are cached. Give
    `--encoder.backbone resnet50 --encoder.weights FILE --encoder.frozen layer3 --data.copies 0`
    for the published encoder.
    """
    return Recipe(
        method=CarlConfig(frames=80),
        encoder=EncoderConfig(position="absolute"),
        optimizer=OptimizerConfig(name="adam", lr=1e-4, weight_decay=1e-5, clip=10),
        data=DataConfig(videos=8, steps=1000, copies=4),
    )


def rotary() -> Recipe:
    """CARL with relative positions, which cannot tell the network where in a video a frame lies."""
    recipe = carl()
    return replace(recipe, encoder=replace(recipe.encoder, position="rotary"))


def marey() -> Recipe:
    """Marey's own: relative positions, and features that keep where in the frame things are.

    The features of the backbone's middle stages are pooled over a coarse grid, because what moved
    most on unseen videos was the layout of the body, which pooling over all of space loses.
    """
    recipe = rotary()
    return replace(
        recipe,
        encoder=replace(recipe.encoder, pool="grid", size=112),
        method=CarlConfig(frames=40),
        optimizer=replace(recipe.optimizer, lr=3e-4, warmup=0.05),
    )


def demo() -> Recipe:
    """`marey` for some dozens of videos and a few minutes: a smaller transformer, fewer steps.

    The published width learns so few videos by heart; `docs/log.md` has the numbers.
    """
    recipe = marey()
    return replace(
        recipe,
        encoder=replace(
            recipe.encoder, width=128, hidden=256, layers=2, heads=4, feedforward=256, dropout=0.0
        ),
        optimizer=replace(recipe.optimizer, lr=1e-3),
        data=replace(recipe.data, steps=400, copies=3),
    )


def carl_tiny() -> Recipe:
    """CARL small enough to learn a few dozen little videos in seconds on two cores."""
    return Recipe(
        method=CarlConfig(frames=24, variance=4.0),
        encoder=EncoderConfig(
            size=64,
            pool="grid",
            hidden=128,
            width=64,
            layers=1,
            heads=4,
            feedforward=128,
            dimension=32,
            position="rotary",
            dropout=0.0,
        ),
        optimizer=OptimizerConfig(lr=3e-3),
        data=DataConfig(videos=8, steps=120, copies=3),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "carl": carl,
    "rotary": rotary,
    "marey": marey,
    "demo": demo,
    "carl_tiny": carl_tiny,
}
"""Every recipe by its name on the command line."""

DEFAULT = "marey"
"""What `marey train FOLDER` uses where no recipe is named."""
