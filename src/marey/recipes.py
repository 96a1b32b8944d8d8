"""Whole trainings under a name. Nothing here imports torch: `marey train --help` reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from marey.config import (
    AugmentConfig,
    CarlConfig,
    ClipEncoderConfig,
    DataConfig,
    EncoderConfig,
    LavConfig,
    MareyConfig,
    MclConfig,
    OptimizerConfig,
    Recipe,
    SalConfig,
    TccConfig,
    TcnConfig,
)
from marey.errors import ConfigError
from marey.published_recipes import (
    carl_finegym,
    carl_kinetics,
    carl_penn,
    carl_pouring,
    lav_penn,
    mcl_kinetics,
    mcl_ucf101,
    sal_penn,
    tcc_penn,
    tcn_penn,
)

Encoder = EncoderConfig | ClipEncoderConfig


def _with(encoder: Encoder, **changes: Any) -> Encoder:
    return replace(encoder, **changes)


def carl() -> Recipe:
    """CARL as published (CVPR 2022): absolute positions, sequence contrast, Adam at 1e-4.

    Two departures, so that it runs anywhere: the backbone is EfficientNet-Lite0 with the ImageNet
    weights its package ships, wholly frozen, and its features are cached. The recipes named after
    data sets, such as `carl_penn`, have the published encoder.
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
    return replace(recipe, encoder=_with(recipe.encoder, position="rotary"))


def marey() -> Recipe:
    """Marey's own: what moves where, relative positions, and a contrast between videos too.

    Beside the backbone's features, over a coarse grid that keeps where things are, stands a grid of
    optical flow, which brought most on unseen videos (`docs/log.md`). A step holds four videos of
    each of two actions, as far as the table or the folders tell; else all videos count as one.
    """
    return Recipe(
        method=MareyConfig(),
        encoder=EncoderConfig(
            size=112,
            pool="grid",
            motion=14,
            motion_alone=0.5,
            hidden=256,
            hidden_layers=1,
            width=128,
            layers=2,
            heads=4,
            feedforward=256,
            dropout=0.0,
            position="rotary",
        ),
        optimizer=OptimizerConfig(name="adamw", lr=2e-3, weight_decay=1e-4, warmup=0.05),
        data=DataConfig(videos=8, steps=1000, copies=4, together=4),
    )


def demo() -> Recipe:
    """`marey` for some dozens of videos and a few minutes."""
    recipe = marey()
    return replace(recipe, data=replace(recipe.data, steps=400, copies=3))


def tcc() -> Recipe:
    """TCC (CVPR 2019) on the encoder of `rotary`: cycles between videos of one action.

    Published with 20 frames and a convolutional encoder; views of 80 frames are `carl`'s.
    """
    recipe = rotary()
    return replace(recipe, method=TccConfig(frames=80), data=replace(recipe.data, together=4))


def tcn() -> Recipe:
    """Single-view TCN (ICRA 2018) on the encoder of `rotary`: n-pairs of neighbouring frames.

    Frames, window and lambda as in the comparison that CARL's authors released.
    """
    return replace(rotary(), method=TcnConfig())


def lav() -> Recipe:
    """LAV (CVPR 2021) on the encoder of `rotary`: soft time warping between videos of one action.

    Settings of its release. The balance of the loss's two parts depends on the number of frames,
    so that stays the published 20.
    """
    recipe = rotary()
    return replace(recipe, method=LavConfig(), data=replace(recipe.data, together=2))


def sal() -> Recipe:
    """Shuffle and Learn (ECCV 2016) on the encoder of `rotary`: are three frames in order?

    Frames and tuples as in the comparison that TCC's authors released.
    """
    return replace(rotary(), method=SalConfig())


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


def marey_tiny() -> Recipe:
    """`marey` on the encoder of `carl_tiny`, with motion."""
    recipe = carl_tiny()
    return replace(
        recipe,
        method=MareyConfig(frames=24, variance=4.0),
        encoder=_with(recipe.encoder, motion=8),
        data=replace(recipe.data, together=2),
    )


def mcl() -> Recipe:
    """MCL for small machines: a small network from nothing, clips of 8 frames of 64 pixels.

    Colours are changed much more than as published, half of the clips have none: a network that
    starts from nothing tells videos apart by their colours and learns nothing else
    (`docs/log.md`). For people small in the picture give `--encoder.size 112`.
    """
    recipe = mcl_ucf101()
    return replace(
        recipe,
        method=MclConfig(length=8, every=8, queue=960, momentum=0.99),
        encoder=ClipEncoderConfig(backbone="r2plus1d_small", size=64, hidden=256),
        augment=AugmentConfig(
            area=(0.2, 1.0),
            jitter=1.0,
            brightness=0.6,
            contrast=0.6,
            saturation=0.8,
            hue=0.5,
            grey=0.5,
        ),
        optimizer=OptimizerConfig(name="adamw", lr=3e-3, weight_decay=1e-4, warmup=0.05),
        data=DataConfig(videos=16, steps=1000, copies=0, keep_frames=True),
    )


def mcl_tiny() -> Recipe:
    """`mcl` small enough to learn some dozens of very small videos in less than a minute."""
    recipe = mcl()
    return replace(
        recipe,
        method=MclConfig(
            length=8, stride=1, every=4, window=4, queue=96, momentum=0.99, spatiotemporal=2.0
        ),
        encoder=_with(recipe.encoder, size=48, hidden=64, dimension=32),
        optimizer=replace(recipe.optimizer, lr=1e-3),
        data=replace(recipe.data, steps=200),
    )


def tcc_tiny() -> Recipe:
    """TCC on the encoder of `carl_tiny`, which it takes twice as many steps to teach."""
    recipe = carl_tiny()
    data = replace(recipe.data, together=2, steps=240)
    return replace(recipe, method=TccConfig(frames=24), data=data)


def tcn_tiny() -> Recipe:
    """Single-view TCN on the encoder of `carl_tiny`."""
    return replace(carl_tiny(), method=TcnConfig(frames=16))


def lav_tiny() -> Recipe:
    """LAV on the encoder of `carl_tiny`."""
    recipe = carl_tiny()
    return replace(recipe, method=LavConfig(frames=20), data=replace(recipe.data, together=2))


def sal_tiny() -> Recipe:
    """Shuffle and Learn on the encoder of `carl_tiny`."""
    return replace(carl_tiny(), method=SalConfig(frames=24, tuples=32))


RECIPES: dict[str, Callable[[], Recipe]] = {
    "carl": carl,
    "rotary": rotary,
    "marey": marey,
    "demo": demo,
    "mcl": mcl,
    "mcl_ucf101": mcl_ucf101,
    "mcl_kinetics": mcl_kinetics,
    "carl_penn": carl_penn,
    "carl_pouring": carl_pouring,
    "carl_finegym": carl_finegym,
    "carl_kinetics": carl_kinetics,
    "tcc_penn": tcc_penn,
    "tcn_penn": tcn_penn,
    "lav_penn": lav_penn,
    "sal_penn": sal_penn,
    "carl_tiny": carl_tiny,
    "marey_tiny": marey_tiny,
    "mcl_tiny": mcl_tiny,
    "tcc": tcc,
    "tcn": tcn,
    "lav": lav,
    "sal": sal,
    "tcc_tiny": tcc_tiny,
    "tcn_tiny": tcn_tiny,
    "lav_tiny": lav_tiny,
    "sal_tiny": sal_tiny,
}
"""Every recipe by its name on the command line."""


def named(recipe: Recipe | str) -> Recipe:
    """The recipe of a name; a recipe as it is. Raises ConfigError for a name that is none."""
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise ConfigError(f"There is no recipe {recipe!r}; there are {', '.join(RECIPES)}.")
    return RECIPES[recipe]()


DEFAULT = "marey"
"""What `marey train FOLDER` uses where no recipe is named."""
