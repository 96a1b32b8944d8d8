"""Backbones: published names and weights, freezing, and the fast way through frozen stages."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from marey import device
from marey.errors import ConfigError, ShapeError
from marey.models import trunk as trunk_module
from marey.models.backbone import Backbone, build, freeze, trunk
from marey.models.efficientnet import _StridedConv
from marey.models.trunk import Trunk
from marey.models.weights import load_state

MEAN, STD = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return build("efficientnet_lite0").eval()


@pytest.fixture
def resnet() -> Backbone:
    torch.manual_seed(0)
    return build("resnet18", "random").eval()


def photographs(size: int) -> Tensor:
    """(8, 3, size, size): crops of a Chinese palace and of a dahlia, normalised."""
    crops = []
    for picture in load_sample_images().images:
        for left, side in ((106, 427), (0, 427), (213, 427), (150, 350)):
            crop = cv2.resize(picture[:side, left : left + side], (size, size), interpolation=3)
            crops.append((crop / 255 - MEAN) / STD)
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()


def worst_cosine(a: Tensor, b: Tensor) -> float:
    return F.cosine_similarity(a.flatten(1), b.flatten(1)).min().item()


@pytest.mark.parametrize(
    ("name", "parameters", "entries"),
    [("resnet18", 11_176_512, 120), ("resnet50", 23_508_032, 318)],
)
def test_resnets_have_the_published_names(name: str, parameters: int, entries: int) -> None:
    backbone = build(name, "random")
    state = backbone.state_dict()
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    assert len(state) == entries
    last = {"resnet18": "layer4.1.bn2", "resnet50": "layer4.2.bn3"}[name]
    for key in ("conv1.weight", "bn1.running_var", "layer2.0.downsample.0.weight", f"{last}.bias"):
        assert key in state
    assert len(state["layer2.0.downsample.1.weight"]) == backbone.stage_channels[2]
    # in ResNet-50 the 3x3 carries the stride
    strided = "conv2" if name == "resnet50" else "conv1"
    assert backbone.get_submodule(f"layer2.0.{strided}").stride == (2, 2)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_lite0"])
@pytest.mark.parametrize("size", [64, 50])
def test_stages_have_the_shapes_they_declare(name: str, size: int) -> None:
    backbone = build(name, "random").eval()
    with torch.no_grad():
        x = torch.randn(2, 3, size, size)
        outputs = backbone(x)
        middle = backbone(outputs[1], start=2, stop=4)
    for out, channels, stride in zip(
        outputs, backbone.stage_channels, backbone.stage_strides, strict=True
    ):
        assert out.shape == (2, channels, -(-size // stride), -(-size // stride))
    assert len(outputs) == len(backbone.stage_names)
    assert [torch.equal(a, b) for a, b in zip(middle, outputs[2:4], strict=True)] == [True, True]


@settings(max_examples=20, deadline=None)
@given(st.integers(5, 12), st.integers(5, 12), st.sampled_from([3, 5]), st.booleans())
def test_strided_convolution_pads_like_tensorflow(
    high: int, wide: int, kernel: int, depthwise: bool
) -> None:
    conv = _StridedConv(4, 4, kernel, groups=4 if depthwise else 1).double()
    x = torch.randn(2, 4, high, wide, dtype=torch.double)
    pads = []
    for size in (wide, high):
        total = max((-(-size // 2) - 1) * 2 + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    want = F.conv2d(F.pad(x, pads), conv.weight, stride=2, groups=conv.groups)
    torch.testing.assert_close(conv(x), want)


@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
def test_lite0_sees_pixels_as_it_was_trained(lite0: Backbone, size: tuple[int, int]) -> None:
    pixels = torch.randint(0, 256, (2, 3, *size)).float()
    mean, std = (torch.tensor(v).view(3, 1, 1).float() for v in (MEAN, STD))
    convolve, norm, end = lite0.get_submodule("stem")
    below, right = (1 + side % 2 for side in size)  # one row less at the top, as TensorFlow pads
    scaled = F.pad((pixels - 127) / 128, (right - 1, 1, below - 1, 1))
    with torch.no_grad():
        want = end(norm(F.conv2d(scaled, convolve.weight, stride=2)))
        got = lite0((pixels / 255 - mean) / std, stop=1)[0]
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_lite0_knows_a_palace_and_a_flower(lite0: Backbone) -> None:
    path = lite0.packaged_weights()
    assert path is not None
    state = load_state(path)
    with torch.no_grad():
        features = lite0(photographs(224)[[0, 4]])[-1].mean((2, 3))
    logits = features @ state["_fc.weight"].T + state["_fc.bias"]
    assert logits.argmax(1).tolist() == [698, 985]  # ImageNet's palace and daisy


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="no backbone 'vgg'; there are efficientnet_lite0"):
        build("vgg")
    with pytest.raises(ConfigError, match="no stage 'layer9'; there are stem, layer1"):
        freeze(build("resnet18", "random"), "layer9")
    with pytest.raises(ConfigError, match=r"must be in 0\.\.4"):
        Trunk(build("resnet18", "random"), (5,))


def test_frozen_stages_stay_as_they_are(resnet: Backbone) -> None:
    assert freeze(resnet, "layer3") == 4
    before = {name: value.clone() for name, value in resnet.state_dict().items()}
    resnet.train()
    optimizer = torch.optim.SGD(resnet.parameters(), 0.1, weight_decay=0.1)
    resnet(torch.randn(4, 3, 64, 64))[-1].square().mean().backward()
    optimizer.step()
    for name, value in resnet.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("layer4"), name
    assert not any(p.requires_grad for n, p in resnet.named_parameters() if "layer4" not in n)


def test_freezing_all_none_and_again(resnet: Backbone) -> None:
    assert freeze(resnet.train(), "all") == 5
    assert not any(p.requires_grad for p in resnet.parameters())
    assert not any(m.training for m in resnet.modules() if isinstance(m, nn.BatchNorm2d))
    assert freeze(resnet, "none") == 0
    assert all(p.requires_grad for p in resnet.parameters())
    assert all(m.training for m in resnet.modules())


@pytest.mark.parametrize("upto", ["none", "stem", "layer3", "all"])
def test_trunk_gives_what_the_backbone_gives(resnet: Backbone, upto: str) -> None:
    x = torch.randn(3, 3, 64, 64)
    freeze(resnet, upto)
    maps = Trunk(resnet, (4, 2), precision="fp32")(x)
    assert list(maps) == [4, 2]
    for i, want in enumerate(resnet(x)):
        if i in maps:
            torch.testing.assert_close(maps[i], want, rtol=1e-3, atol=1e-4)
            assert maps[i].requires_grad == (i >= resnet.frozen)


def test_only_trained_stages_get_gradients_through_the_trunk(resnet: Backbone) -> None:
    run = trunk(resnet, "layer3", keep=(4,))
    resnet.train()
    run(torch.randn(4, 3, 64, 64))[4].square().mean().backward()
    for name, parameter in resnet.named_parameters():
        has = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert has == name.startswith("layer4"), name


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_bf16_is_close_to_fp32(lite0: Backbone, mode: type[torch.no_grad]) -> None:
    x = photographs(96)
    freeze(lite0, "all")
    with mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        maps = Trunk(lite0, (3, 5, 8), precision="bf16", compiled=False)(x)
    with torch.no_grad():
        want = lite0(x)
    for i in (3, 5):  # what the encoder's `grid` pools
        assert maps[i].dtype == torch.float32
        assert worst_cosine(maps[i], want[i]) >= 0.999
        assert worst_cosine(maps[i].mean((2, 3)), want[i].mean((2, 3))) >= 0.999
    pooled = F.cosine_similarity(maps[8].amax((2, 3)), want[8].amax((2, 3)))
    assert pooled.mean() >= 0.999
    assert pooled.min() >= 0.998


def test_exact_stages_are_exact(lite0: Backbone) -> None:
    freeze(lite0, "all")
    x = photographs(64)
    for keep in ((0,), (0, 1)):
        maps = Trunk(lite0, keep, precision="bf16")(x)
        for i in keep:
            torch.testing.assert_close(maps[i], lite0(x)[i], rtol=1e-4, atol=1e-3)


def test_bf16_resnet_is_close_to_fp32(resnet: Backbone) -> None:
    freeze(resnet, "all")
    x = photographs(96)
    pooled = Trunk(resnet, (4,), precision="bf16")(x)[4].amax((2, 3))
    assert worst_cosine(pooled, resnet(x)[4].amax((2, 3))) >= 0.999


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_results_do_not_depend_on_the_cut(lite0: Backbone, precision: str) -> None:
    freeze(lite0, "all")
    run = Trunk(lite0, (5,), precision=precision)  # type: ignore[arg-type]
    x = torch.randn(37, 3, 32, 32)
    whole = run(x)[5]
    for cut in (1, 16, 20):
        assert torch.equal(torch.cat([run(part)[5] for part in x.split(cut)]), whole)
    order = torch.randperm(37)
    assert torch.equal(run(x[order])[5], whole[order])


def test_trunk_notices_new_weights(resnet: Backbone) -> None:
    run = trunk(resnet, "all", keep=(1,))
    x = torch.randn(2, 3, 32, 32)
    before = run(x)[1]
    other = build("resnet18", "random").eval()
    resnet.load_state_dict(other.state_dict())
    after = run(x)[1]
    assert worst_cosine(after, other(x, stop=2)[1]) >= 0.999
    assert worst_cosine(after, before) < 0.999


def test_trunk_is_in_no_state_dict(resnet: Backbone) -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = resnet
            self.trunk = trunk(resnet, "all", keep=(0,))

    encoder = Encoder()
    encoder.trunk(torch.randn(1, 3, 32, 32))
    assert len(encoder.state_dict()) == len(resnet.state_dict())


@pytest.mark.parametrize("shape", [(0, 3, 32, 32), (2, 1, 32, 32), (3, 32, 32)])
def test_trunk_refuses_other_shapes(resnet: Backbone, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="pictures must be"):
        trunk(resnet, "all", keep=(0,))(torch.zeros(shape))


def test_compiles_only_where_enough_is_expected(
    resnet: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def compile_(stages: nn.Module, batch: Tensor) -> nn.Module:
        compiled.append(batch.shape)
        return stages

    monkeypatch.setattr(trunk_module, "compile_stages", compile_)
    monkeypatch.setattr(device, "can_compile", lambda _: (True, ""))
    run = trunk(resnet, "all", keep=(0,))
    x = torch.zeros(1, 3, 32, 32)
    run(x)
    run.expect(10)
    run(x)
    assert not compiled
    assert run.path.endswith("few pictures expected")
    run.expect(10**9)
    run(x)
    run(x)
    assert compiled == [(16, 3, 32, 32)]
    assert run.path.startswith("compiled")


@pytest.mark.parametrize("why", ["there is no compiler", "it broke"])
def test_runs_eagerly_and_says_so_where_it_cannot_compile(
    resnet: Backbone, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    def compile_(*_: object) -> nn.Module:
        raise RuntimeError(why)

    monkeypatch.setattr(trunk_module, "compile_stages", compile_)
    monkeypatch.setattr(device, "can_compile", lambda _: (why == "it broke", why))
    run = trunk(resnet, "all", keep=(0,))
    run.expect(10**9)
    with caplog.at_level(logging.WARNING):
        maps = run(torch.zeros(1, 3, 32, 32))
    assert maps[0].shape == (1, 64, 8, 8)
    assert why in run.path
    assert why in caplog.text
