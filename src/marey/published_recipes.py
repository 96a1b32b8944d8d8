"""Trainings as the papers describe them, each under the name of its data.

The papers' networks start from weights that no package brings along, so that the frame recipes
need `--encoder.weights FILE` (or `random`). What was published is recalled from the papers, not
measured here; `marey reproduce` prints it beside one's own numbers. None of these trainings was
run in full: their hours are reckoned from the steps in `docs/speed.md`, on two cores of a CPU with
AMX (2.5 s for a video of 2 x 80 frames, 0.6 s for one of 4 clips), and from the counts of videos.
"""

from __future__ import annotations

from dataclasses import replace

from marey.config import (
    AugmentConfig,
    CarlConfig,
    ClipEncoderConfig,
    DataConfig,
    EncoderConfig,
    LavConfig,
    MclConfig,
    OptimizerConfig,
    Recipe,
    SalConfig,
    TccConfig,
    TcnConfig,
)


def carl_penn() -> Recipe:
    """CARL as published on Penn Action (CVPR 2022): ResNet-50, 80 frames, 300 epochs, one model.

    Published (recalled): phase classification 93.07, progression 0.918, tau 0.985, AP@5 92.28.
    Hours: some 240, on two CPU cores. `marey reproduce carl-penn --data ROOT --weights BYOL
    --out FOLDER`, or `marey train carl_penn TABLE --split train --encoder.weights BYOL --out
    RUN`.
    """
    return Recipe(
        method=CarlConfig(frames=80),
        encoder=EncoderConfig(backbone="resnet50", frozen="layer3", layers=3),
        optimizer=OptimizerConfig(name="adam", lr=1e-4, weight_decay=1e-5, clip=10),
        data=DataConfig(videos=1, epochs=300, copies=0),
    )


def carl_pouring() -> Recipe:
    """CARL as published on Pouring: 240 frames, 500 epochs, two layers of the transformer.

    Published (recalled): phase classification 93.73, progression 0.935, tau 0.992. Hours: some
    70, on two CPU cores. `marey reproduce carl-pouring --data ROOT --weights BYOL --out
    FOLDER`.
    """
    recipe = carl_penn()
    return replace(
        recipe,
        method=CarlConfig(frames=240),
        encoder=_encoder(layers=2),
        data=replace(recipe.data, epochs=500),
    )


def carl_finegym() -> Recipe:
    """CARL as published on FineGym: 240 frames, 300 epochs.

    Published (a later paper quotes it): 60.4 of 100 frames of FineGym99 by a linear layer.
    Hours: 2 for every 1000 videos and epoch, on two CPU cores. `marey reproduce carl-finegym
    --data ROOT --weights BYOL --out FOLDER`.
    """
    return replace(carl_penn(), method=CarlConfig(frames=240))


def carl_kinetics() -> Recipe:
    """CARL's pre-training on Kinetics-400, by the settings of its release, not the paper's text.

    10 epochs of 2 videos, 80 frames, two layers; views overlap as far as they can, and frames
    are contrasted with the whole batch. Published for other data after it: not recalled. Hours:
    some 1700, on two CPU cores. `marey train carl_kinetics TABLE --split train
    --encoder.weights BYOL --out RUN`.
    """
    recipe = carl_penn()
    return replace(
        recipe,
        method=CarlConfig(frames=80, overlap=1.0, negatives="batch_noself"),
        encoder=_encoder(layers=2),
        data=replace(recipe.data, videos=2, epochs=10),
    )


def tcc_penn() -> Recipe:
    """TCC on Penn Action, one model for all actions, on the encoder and optimiser of `carl_penn`.

    Frames and videos of a step as in the comparison that CARL's authors released, whose encoder
    is convolutional. Published (recalled), with that: phase classification 74.39, progression
    0.591, tau 0.641. Hours: some 30, on two CPU cores. `marey train tcc_penn TABLE --split
    train --encoder.weights FILE --out RUN`, then `marey eval RUN TABLE`.
    """
    recipe = carl_penn()
    return replace(
        recipe,
        method=TccConfig(frames=20),
        data=replace(recipe.data, videos=4, together=4),
    )


def tcn_penn() -> Recipe:
    """Single-view TCN on Penn Action, one model, on the encoder and optimiser of `carl_penn`.

    Frames, window and lambda as in the comparison that CARL's authors released. Published
    (recalled), with another encoder: phase classification 68.09, progression 0.383, tau 0.542.
    Hours: some 60, on two CPU cores. `marey train tcn_penn TABLE --split train
    --encoder.weights FILE --out RUN`, then `marey eval RUN TABLE`.
    """
    recipe = carl_penn()
    return replace(recipe, method=TcnConfig(frames=40), data=replace(recipe.data, videos=2))


def lav_penn() -> Recipe:
    """LAV on Penn Action, one model for all actions, on the encoder and optimiser of `carl_penn`.

    Two videos of one action at a time, 20 frames of each, as in its release. Published
    (recalled), with another encoder: phase classification 78.68, progression 0.625, tau 0.684.
    Hours: some 30, on two CPU cores. `marey train lav_penn TABLE --split train
    --encoder.weights FILE --out RUN`, then `marey eval RUN TABLE`.
    """
    recipe = carl_penn()
    return replace(
        recipe,
        method=LavConfig(frames=20),
        data=replace(recipe.data, videos=2, together=2),
    )


def sal_penn() -> Recipe:
    """Shuffle and Learn on Penn Action, one model, on the encoder and optimiser of `carl_penn`.

    Frames and tuples as in the comparison that TCC's authors released. Published (recalled),
    with another encoder: phase classification 68.15, progression 0.390, tau 0.474. Hours: some
    30, on two CPU cores. `marey train sal_penn TABLE --split train --encoder.weights FILE --out
    RUN`, then `marey eval RUN TABLE`.
    """
    recipe = carl_penn()
    return replace(recipe, method=SalConfig(frames=20), data=replace(recipe.data, videos=4))


def mcl_ucf101() -> Recipe:
    """MCL as published on UCF101 (ICCV 2021): R(2+1)D-50, 200 epochs, 4 devices of 8 videos.

    It starts from MoCo v2's ImageNet weights: `--encoder.weights FILE`. Published (recalled):
    81.91 of 100 videos by a linear SVM. Hours: some 310, on two CPU cores. `torchrun
    --nproc-per-node 4 -m marey reproduce mcl-ucf101 --data ROOT --weights MOCO --out FOLDER`.
    """
    return Recipe(
        method=MclConfig(),
        encoder=ClipEncoderConfig(),
        augment=AugmentConfig(
            area=(0.2, 1.0), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1
        ),
        optimizer=OptimizerConfig(
            name="sgd", lr=0.01, weight_decay=1e-4, momentum=0.9, warmup=5 / 200, clip=0
        ),
        data=DataConfig(videos=8, epochs=200, copies=0, shortest=64),
    )


def mcl_kinetics() -> Recipe:
    """MCL as published on Kinetics-400: 400 epochs, flow over 4 frames, no order of clips.

    Published (recalled): 66.62 of 100 videos by a linear layer on frozen features. Hours: some
    16,000, on two CPU cores. `torchrun --nproc-per-node 4 -m marey reproduce mcl-kinetics
    --data ROOT --weights MOCO --out FOLDER`, on 4 devices as published.
    """
    recipe = mcl_ucf101()
    return replace(
        recipe,
        method=MclConfig(window=4, order=0.0),
        optimizer=replace(recipe.optimizer, lr=0.02, warmup=5 / 400),
        data=replace(recipe.data, epochs=400, shortest=1),
    )


def _encoder(layers: int) -> EncoderConfig:
    return EncoderConfig(backbone="resnet50", frozen="layer3", layers=layers)
