"""R(2+1)D networks: shapes, names, and what inflation must keep."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from marey.errors import CheckpointError, ShapeError
from marey.models.r2plus1d import (
    InflatedBasicBlock,
    InflatedBottleneck,
    InflatedResNet,
    VideoNetwork,
    _space,
    _time,
    inflate,
    r2plus1d_18,
    r2plus1d_50,
    r2plus1d_small,
)
from marey.models.resnet import BasicBlock, Bottleneck, ResNet


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def shaken(network: nn.Module) -> nn.Module:
    """BatchNorms with statistics and weights that a trained network could have."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.2),
            ):
                assert tensor is not None
                tensor.uniform_(low, high, generator=generator)
    return network.eval()


def small(seed: int = 0) -> InflatedResNet:
    torch.manual_seed(seed)
    return InflatedResNet(InflatedBottleneck, (1, 1), width=8)


def test_r2plus1d_50_has_the_published_shape() -> None:
    with torch.device("meta"):
        network = r2plus1d_50()
        features = network(torch.empty(1, 3, 16, 224, 224))
    # the picture ResNet-50, three more slots of the stem, 512 = one 3x1x1 per block
    more = 3 * 64 * 3 * 49 + 3 * sum(
        n * w * w for n, w in zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True)
    )
    assert parameters(network) == 23_508_032 + more
    assert features.shape == (1, 2048, 4, 7, 7)
    assert (network.channels, network.strides) == (2048, (4, 32))
    names = network.state_dict()
    assert names["conv1.weight"].shape == (64, 3, 4, 7, 7)
    assert names["layer4.2.conv2_t.weight"].shape == (512, 512, 3, 1, 1)
    assert names["layer2.0.downsample.0.weight"].shape == (512, 256, 1, 1, 1)


def test_r2plus1d_18_is_the_fields() -> None:
    with torch.device("meta"):
        network = r2plus1d_18()
        features = network(torch.empty(1, 3, 16, 112, 112))
    assert parameters(network) == 31_505_325 - 205_200  # published, less its 400-way classifier
    assert features.shape == (1, 512, 2, 7, 7)
    shapes = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    for name, shape in {
        "stem.0.weight": (45, 3, 1, 7, 7),
        "stem.1.running_mean": (45,),
        "stem.3.weight": (64, 45, 3, 1, 1),
        "stem.4.bias": (64,),
        "layer1.0.conv1.0.0.weight": (144, 64, 1, 3, 3),
        "layer1.0.conv1.0.1.weight": (144,),
        "layer1.0.conv1.0.3.weight": (64, 144, 3, 1, 1),
        "layer1.0.conv1.1.weight": (64,),
        "layer1.1.conv2.0.3.weight": (64, 144, 3, 1, 1),
        "layer2.0.conv1.0.0.weight": (230, 64, 1, 3, 3),
        "layer2.0.conv2.0.0.weight": (230, 128, 1, 3, 3),
        "layer2.0.conv2.1.bias": (128,),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1, 1),
        "layer2.0.downsample.1.running_var": (128,),
        "layer4.1.conv2.0.0.weight": (1152, 512, 1, 3, 3),
    }.items():
        assert shapes[name] == shape, name
    assert not any(name.startswith("layer1.0.downsample") for name in shapes)


def test_the_small_one_gives_mcls_grid() -> None:
    with torch.device("meta"):
        network = r2plus1d_small()
        features = network(torch.empty(1, 3, 16, 112, 112))
    assert parameters(network) < 2_000_000
    assert features.shape == (1, network.channels, 4, 7, 7)
    assert network.strides == (4, 16)


@pytest.mark.parametrize("pixels", [32, 45])
@pytest.mark.parametrize(
    ("flat", "inflated", "depths"),
    [
        (BasicBlock, InflatedBasicBlock, (2, 1, 1, 2)),
        (Bottleneck, InflatedBottleneck, (1, 2, 1, 1)),
    ],
)
def test_a_still_video_is_seen_as_the_picture(
    flat: type[BasicBlock | Bottleneck],
    inflated: type[InflatedBasicBlock | InflatedBottleneck],
    depths: tuple[int, ...],
    pixels: int,
) -> None:
    torch.manual_seed(0)
    pictures = shaken(ResNet(flat, depths))
    videos = InflatedResNet(inflated, depths)
    weights = pictures.state_dict() | {"fc.weight": torch.zeros(9, 8), "fc.bias": torch.zeros(9)}
    videos.load_state_dict(inflate(weights))
    videos.eval()
    picture = torch.randn(2, 3, pixels, pixels)
    still = picture[:, :, None].expand(-1, -1, 8, -1, -1)
    with torch.no_grad():
        want, got = pictures(picture), videos(still)
    want = want[-1] if isinstance(want, (list, tuple)) else want
    assert got.shape[2] == 2
    for slice_ in got.unbind(2):
        torch.testing.assert_close(slice_, want, rtol=1e-4, atol=1e-4)


def test_before_training_one_frame_in_four_is_seen() -> None:
    torch.manual_seed(0)
    videos = InflatedResNet(InflatedBasicBlock, (1, 1, 1, 1))
    videos.load_state_dict(inflate(ResNet(BasicBlock, (1, 1, 1, 1)).state_dict()))
    videos.eval()
    clip = torch.randn(1, 3, 8, 32, 32)
    other = torch.randn_like(clip)
    other[:, :, 1::4] = clip[:, :, 1::4]
    with torch.no_grad():
        torch.testing.assert_close(videos(other), videos(clip))
        other[:, :, 1] += 1
        assert not torch.allclose(videos(other), videos(clip))


def test_inflated_weights_are_complete_and_foreign_ones_refused() -> None:
    with torch.device("meta"):
        weights = inflate(ResNet(Bottleneck, (3, 4, 6, 3)).state_dict())
        want = r2plus1d_50().state_dict()
    assert {n: t.shape for n, t in weights.items()} == {n: t.shape for n, t in want.items()}
    with pytest.raises(CheckpointError, match="features.0.weight"):
        inflate({"features.0.weight": torch.zeros(8, 3, 5, 5)})


@pytest.mark.parametrize("make", [small, r2plus1d_small])
def test_features_follow_the_last_convolution(make: type[VideoNetwork]) -> None:
    """The gradient there gives the first-order change of what is made of the features."""
    network = make().double().eval()
    clips = torch.randn(2, 3, 8, 32, 32).double()
    features, convolved = network.features(clips)
    torch.testing.assert_close(network(clips), features)
    assert features.shape == convolved.shape
    assert features.shape[1:3] == (network.channels, 2)
    probe = torch.randn_like(features)
    (gradient,) = torch.autograd.grad((features * probe).sum(), convolved, create_graph=True)
    assert gradient.shape == convolved.shape
    last = network.blocks()[-1]
    norm = last.last_norm()
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)  # type: ignore[operator]
    open_ = (features > 0) * probe * scale.view(-1, 1, 1, 1)
    torch.testing.assert_close(gradient, open_)


def test_all_weights_learn_through_second_derivatives() -> None:
    network = small().train()
    clips = torch.randn(2, 3, 8, 16, 16)
    features, convolved = network.features(clips)
    pooled = nn.functional.normalize(features.mean((2, 3, 4)), dim=1)
    similarity = (pooled * nn.functional.normalize(torch.rand(2, network.channels), dim=1)).sum()
    (gradient,) = torch.autograd.grad(similarity, convolved, create_graph=True)
    gradient.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("shape", [(2, 3, 3, 32, 32), (2, 8, 3, 32, 32), (3, 8, 32, 32)])
def test_clips_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    clips: Tensor = torch.zeros(shape)
    with pytest.raises(ShapeError, match=r"\(B, 3, T, H, W\)"):
        small()(clips)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("edge", [1, 2, 6])
def test_gradients_of_inputs_smaller_than_a_kernel(depth: int, edge: int) -> None:
    """In bfloat16 too, where oneDNN's may hold whatever was in memory."""
    for conv in (_time(32, 32), _time(32, 32, 2), _space(32, 32), _space(32, 32, 2)):
        x = torch.randn(4, 32, depth, edge, edge, dtype=torch.bfloat16)
        half, exact = deepcopy(conv).bfloat16(), deepcopy(conv).bfloat16().double()
        for _ in range(3):
            waste = [torch.full((1 << k,), torch.nan) for k in range(8, 20)]
            del waste
            half.zero_grad()
            y = half(x.to(memory_format=torch.channels_last_3d))
            gradient = torch.ones_like(y)
            y.backward(gradient)
            exact.zero_grad()
            exact(x.double()).backward(gradient.double())
            torch.testing.assert_close(
                half.weight.grad.double(), exact.weight.grad, rtol=0.02, atol=0.05
            )
