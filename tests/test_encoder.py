"""From pixels to frame features."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from marey.config import EncoderConfig
from marey.models.encoder import FrameEncoder


@pytest.mark.parametrize(
    ("backbone", "pool", "width"),
    [
        ("efficientnet_lite0", "max", 1280),
        ("efficientnet_lite0", "grid", 40 * 25 + 112 * 16),
        ("resnet18", "max", 512),
        ("resnet18", "grid", 128 * 25 + 256 * 16),
        ("vit_s16", "max", 384),
        ("vit_s16", "grid", 384 * (25 + 16)),
    ],
)
def test_width_is_what_comes_out(backbone: str, pool: str, width: int) -> None:
    config = EncoderConfig(backbone=backbone, weights="random", pool=pool)  # type: ignore[arg-type]
    encoder = FrameEncoder(config, 8).eval()
    assert encoder.width == width
    assert encoder.features(torch.randn(2, 1, 3, 64, 64)).shape == (2, width)
    assert not encoder.trains_backbone


def test_motion_stands_behind_the_pictures_features() -> None:
    plain = FrameEncoder(EncoderConfig(backbone="resnet18", weights="random"), 8).eval()
    moving = FrameEncoder(EncoderConfig(backbone="resnet18", weights="random", motion=4), 8).eval()
    moving.backbone.load_state_dict(plain.backbone.state_dict())
    pairs = torch.randn(3, 2, 3, 64, 64)
    features = moving.features(pairs)
    assert features.shape == (3, moving.width) == (3, plain.width + 2 * 4**2)
    torch.testing.assert_close(features[:, : plain.width], plain.features(pairs[:, :1]))
    flow = features[:, plain.width :].unflatten(1, (2, 16))
    assert flow.abs().max() > 0
    still = moving.features(pairs[:, :1].expand(3, 2, 3, 64, 64))
    assert still[:, plain.width :].abs().max() < 1e-3


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_view_may_show_its_motion_alone_in_training(share: float) -> None:
    config = EncoderConfig(
        backbone="resnet18", weights="random", motion=4, motion_alone=share, dropout=0.0
    )
    head = FrameEncoder(config, 8).head
    features = torch.randn(2, 6, head.pictures + 2 * 4**2)
    pictures, flow = features.split([head.pictures, features.shape[-1] - head.pictures], -1)
    others = torch.cat((pictures.flip(0, 1), flow), -1)  # the same pictures for other frames
    for training in (True, False):
        head.train(training)
        same = torch.allclose(head.condense(features), head.condense(others), atol=1e-4)
        assert same == (training and share == 1)


def test_a_frame_does_not_depend_on_its_neighbours() -> None:
    config = EncoderConfig(pool="grid")
    encoder = FrameEncoder(config, 8).eval()
    x = torch.randn(5, 1, 3, 64, 64)
    together = encoder.features(x)
    for i in range(5):
        alone = encoder.features(x[i : i + 1])
        assert torch.nn.functional.cosine_similarity(alone[0], together[i], dim=0) > 0.9999


def test_grid_tells_left_from_right_and_max_does_not_mind() -> None:
    x = torch.zeros(1, 1, 3, 96, 96)
    x[..., :30] = 2.0
    mirrored = x.flip(-1)
    distance = {}
    for pool in ("max", "grid"):
        encoder = FrameEncoder(EncoderConfig(pool=pool), 8).eval()  # type: ignore[arg-type]
        a, b = (torch.nn.functional.normalize(encoder.features(y), dim=1) for y in (x, mirrored))
        distance[pool] = float((a - b).norm())
    assert distance["grid"] > distance["max"]


def test_trained_stages_get_a_gradient_and_frozen_ones_none() -> None:
    config = EncoderConfig(backbone="resnet18", weights="random", frozen="layer3")
    encoder = FrameEncoder(replace(config), 8).train()
    assert encoder.trains_backbone
    encoder.features(torch.randn(2, 1, 3, 64, 64)).sum().backward()
    got = {name for name, p in encoder.backbone.named_parameters() if p.grad is not None}
    assert got
    assert all(name.startswith("layer4") for name in got)
