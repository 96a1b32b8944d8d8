"""The published networks: what torchvision and timm put out, and slow twins.

The numbers of `reference_outputs.json` are outputs of torchvision's and timm's code, which
`reference_outputs.py` made on weights drawn by the names of the parameters; neither is needed here.
Each twin is a plain function of a dictionary of weights under the published parameter names,
written from the papers and the published layer tables with nothing of Marey in it. It covers the
networks whose code is in no package, MCL's among them, and names the stage that went wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey.errors import ShapeError
from marey.models.backbone import Backbone, build, freeze
from marey.models.r2plus1d import r2plus1d_18, r2plus1d_50
from marey.models.trunk import Trunk
from marey.models.vit import VisionTransformer
from reference_outputs import FILE, drawn, fill, some

State = dict[str, Tensor]


REFERENCE = json.loads(FILE.read_text("utf-8"))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vit_s16", "dinov2_s14", "r2plus1d_18"])
def test_outputs_are_those_of_torchvision_and_timm(name: str) -> None:
    shape: tuple[int, ...] = (2, 3, 64, 96)
    network: nn.Module
    if name == "r2plus1d_18":
        network, shape = r2plus1d_18(), (1, 3, 8, 48, 64)
    elif name == "dinov2_s14":  # built for 518 pixels, which would take seconds
        network, shape = VisionTransformer(384, 6, 14, 112, scaled=True), (1, 3, 112, 112)
    else:
        network = build(name, "random")
        shape = (1, 3, 224, 224) if name == "vit_s16" else shape
    fill(network)
    with torch.no_grad():
        outputs = network(drawn("clips" if len(shape) == 5 else "pictures", shape))
    if isinstance(network, VisionTransformer):
        outputs = [network.as_map(out) for out in outputs[1:]]
    outputs = outputs if isinstance(outputs, list) else [outputs]
    got, want = torch.tensor([some(out) for out in outputs]), torch.tensor(REFERENCE[name])
    assert want.abs().mean() > 0.1
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


def shaken(network: nn.Module) -> State:
    """The network's weights, made anew: of a size that keeps signals alive, nothing 0 or 1."""
    generator = torch.Generator().manual_seed(3)
    state = {}
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            noise = 1 + 0.2 * noise.clamp(-3, 3)
        elif value.ndim == 1:
            noise = 0.1 * noise
        elif name not in ("cls_token", "pos_embed"):
            noise = noise * value[0].numel() ** -0.5
        state[name] = noise
    network.load_state_dict(state, strict=False)
    network.eval()
    return state


def norm(w: State, name: str, x: Tensor) -> Tensor:
    """Batch normalisation in evaluation mode."""
    shape = (-1, *[1] * (x.ndim - 2))
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    y = (x - mean.view(shape)) / torch.sqrt(variance.view(shape) + 1e-5)
    return y * w[f"{name}.weight"].view(shape) + w[f"{name}.bias"].view(shape)


def resnet_twin(w: State, x: Tensor, depths: tuple[int, ...], bottleneck: bool) -> list[Tensor]:
    """He et al., table 1, with the stride of a bottleneck in its 3x3."""
    x = F.conv2d(x, w["conv1.weight"], stride=2, padding=3)
    x = F.max_pool2d(norm(w, "bn1", x).relu(), 3, 2, 1)
    outputs = [x]
    for layer, depth in enumerate(depths, start=1):
        for block in range(depth):
            at = f"layer{layer}.{block}"
            stride = 2 if layer > 1 and block == 0 else 1
            y = x
            if f"{at}.downsample.0.weight" in w:
                y = F.conv2d(x, w[f"{at}.downsample.0.weight"], stride=stride)
                y = norm(w, f"{at}.downsample.1", y)
            strides, pads = ((1, stride, 1), (0, 1, 0)) if bottleneck else ((stride, 1), (1, 1))
            for k, (step, pad) in enumerate(zip(strides, pads, strict=True), start=1):
                x = F.conv2d(x, w[f"{at}.conv{k}.weight"], stride=step, padding=pad)
                x = norm(w, f"{at}.bn{k}", x)
                x = (x + y if k == len(strides) else x).relu()
        outputs.append(x)
    return outputs


@pytest.mark.parametrize(
    ("name", "depths"), [("resnet18", (2, 2, 2, 2)), ("resnet50", (3, 4, 6, 3))]
)
def test_resnet(name: str, depths: tuple[int, ...]) -> None:
    network = build(name, "random")
    w, x = shaken(network), torch.randn(2, 3, 45, 64)
    with torch.no_grad():
        got, want = network(x), resnet_twin(w, x, depths, name == "resnet50")
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def r2plus1d_18_twin(w: State, x: Tensor) -> Tensor:
    """Tran et al., table 1: every 3x3x3 as 1x3x3, BatchNorm, ReLU, 3x1x1; names of torchvision."""

    def pair(x: Tensor, at: str, stride: int) -> Tensor:
        x = F.conv3d(x, w[f"{at}.0.weight"], stride=(1, stride, stride), padding=(0, 1, 1))
        x = norm(w, f"{at}.1", x).relu()
        return F.conv3d(x, w[f"{at}.3.weight"], stride=(stride, 1, 1), padding=(1, 0, 0))

    x = F.conv3d(x, w["stem.0.weight"], stride=(1, 2, 2), padding=(0, 3, 3))
    x = F.conv3d(norm(w, "stem.1", x).relu(), w["stem.3.weight"], padding=(1, 0, 0))
    x = norm(w, "stem.4", x).relu()
    for layer in range(1, 5):
        for block in range(2):
            at, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = norm(w, f"{at}.conv1.1", pair(x, f"{at}.conv1.0", stride)).relu()
            y = norm(w, f"{at}.conv2.1", pair(y, f"{at}.conv2.0", 1))
            if stride == 2:
                x = F.conv3d(x, w[f"{at}.downsample.0.weight"], stride=2)
                x = norm(w, f"{at}.downsample.1", x)
            x = (x + y).relu()
    return x


def r2plus1d_50_twin(w: State, x: Tensor) -> Tensor:
    """Li et al., section 4.1: a ResNet-50 with a 3x1x1 behind every 3x3, names of MCL's release."""
    x = F.conv3d(x, w["conv1.weight"], stride=(4, 2, 2), padding=(0, 3, 3))
    x = F.max_pool3d(norm(w, "bn1", x).relu(), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for layer, depth in enumerate((3, 4, 6, 3), start=1):
        for block in range(depth):
            at, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = norm(w, f"{at}.bn1", F.conv3d(x, w[f"{at}.conv1.weight"])).relu()
            y = F.conv3d(y, w[f"{at}.conv2.weight"], stride=(1, stride, stride), padding=(0, 1, 1))
            y = F.conv3d(y, w[f"{at}.conv2_t.weight"], padding=(1, 0, 0))
            y = F.conv3d(norm(w, f"{at}.bn2", y).relu(), w[f"{at}.conv3.weight"])
            if block == 0:
                x = F.conv3d(x, w[f"{at}.downsample.0.weight"], stride=(1, stride, stride))
                x = norm(w, f"{at}.downsample.1", x)
            x = (x + norm(w, f"{at}.bn3", y)).relu()
    return x


@pytest.mark.parametrize(
    ("make", "twin"), [(r2plus1d_18, r2plus1d_18_twin), (r2plus1d_50, r2plus1d_50_twin)]
)
def test_r2plus1d(make: Callable[[], nn.Module], twin: Callable[[State, Tensor], Tensor]) -> None:
    network = make()
    w, x = shaken(network), torch.randn(1, 3, 8, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(network(x), twin(w, x), rtol=1e-3, atol=1e-3)


def vit_twin(w: State, x: Tensor, heads: int) -> list[Tensor]:
    """Dosovitskiy et al., section 3.1, every layer's patch tokens behind the last LayerNorm, one
    picture and one head at a time; with `ls1` and `ls2` where there are any. Names of DINO."""
    patch, width = w["patch_embed.proj.weight"].shape[-1], w["cls_token"].shape[-1]
    blocks = 1 + max(int(name.split(".")[1]) for name in w if name.startswith("blocks"))
    high, wide = (side // patch for side in x.shape[-2:])

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def layer_norm(x: Tensor, name: str) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        spread = torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + 1e-6)
        return (x - mean) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]

    def attention(x: Tensor, at: str) -> Tensor:
        q, k, v = linear(x, f"{at}.qkv").split(width, 1)
        size, parts = width // heads, []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            weight = (q[:, own] @ k[:, own].T / size**0.5).softmax(1)
            parts.append(weight @ v[:, own])
        return linear(torch.cat(parts, 1), f"{at}.proj")

    layers: list[list[Tensor]] = [[] for _ in range(blocks + 1)]
    for picture in x:
        patches = []
        for i in range(high):
            for j in range(wide):
                piece = picture[:, i * patch :, j * patch :][:, :patch, :patch]
                kernel = w["patch_embed.proj.weight"].flatten(1)
                patches.append(kernel @ piece.flatten() + w["patch_embed.proj.bias"])
        tokens = torch.cat((w["cls_token"][0], torch.stack(patches))) + w["pos_embed"][0]
        for k in range(blocks + 1):
            if k:
                at = f"blocks.{k - 1}"
                one, two = (w.get(f"{at}.ls{n}.gamma", torch.ones(width)) for n in (1, 2))
                tokens = tokens + one * attention(layer_norm(tokens, f"{at}.norm1"), f"{at}.attn")
                y = linear(layer_norm(tokens, f"{at}.norm2"), f"{at}.mlp.fc1")
                y = y * 0.5 * (1 + torch.erf(y / 2**0.5))
                tokens = tokens + two * linear(y, f"{at}.mlp.fc2")
            layers[k].append(layer_norm(tokens, "norm")[1:].T.reshape(width, high, wide))
    return [torch.stack(maps) for maps in layers]


@pytest.mark.parametrize(("patch", "scaled"), [(16, False), (14, True)])
def test_vit(patch: int, scaled: bool) -> None:
    network = VisionTransformer(48, 3, patch, 4 * patch, scaled=scaled, depth=8)
    w, x = shaken(network), torch.randn(2, 3, 4 * patch, 4 * patch)
    assert ("blocks.0.ls1.gamma" in w) == scaled
    with torch.no_grad():
        got = [network.as_map(out) for out in network(x)]
        want = vit_twin(w, x, heads=3)[::2]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "parameters", "entries"),
    [
        ("vit_s16", 21_665_664, 150),
        ("vit_b16", 85_798_656, 150),
        ("dinov2_s14", 22_056_576 - 384, 174),  # published, less the mask token
        ("dinov2_b14", 86_580_480 - 768, 174),
    ],
)
def test_vits_have_the_published_names(name: str, parameters: int, entries: int) -> None:
    with torch.device("meta"):
        network = build(name, "random")
    state = network.state_dict()
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(state) == entries
    for key in (
        *("cls_token", "pos_embed", "patch_embed.proj.bias", "norm.weight"),
        *("blocks.11.norm1.bias", "blocks.0.attn.qkv.bias", "blocks.0.attn.proj.weight"),
        *("blocks.3.norm2.weight", "blocks.3.mlp.fc1.weight", "blocks.3.mlp.fc2.bias"),
    ):
        assert key in state
    assert state["pos_embed"].shape[1] == (197 if name.startswith("vit") else 1370)
    assert ("blocks.7.ls2.gamma" in state) == name.startswith("dinov2")


def small_vit(patch: int = 8) -> VisionTransformer:
    torch.manual_seed(0)
    network = VisionTransformer(32, 2, patch, 32, scaled=True, depth=4)
    shaken(network)
    return network


def test_positions_are_stretched_as_dino_stretches_them() -> None:
    network = small_vit()
    place = network._places(6, 3)
    assert torch.equal(place[:, 0], network.pos_embed[:, 0])
    grid = network.pos_embed[0, 1:].T.reshape(1, 32, 4, 4)
    want = F.interpolate(grid, scale_factor=(6.1 / 4, 3.1 / 4), mode="bicubic")
    assert want.shape[2:] == (6, 3)
    torch.testing.assert_close(place[0, 1:], want[0].flatten(1).T)
    assert torch.equal(network._places(4, 4), network.pos_embed)
    for high in range(1, 40):  # the offset is there for the sizes that would come out one short
        assert network._places(high, 41 - high).shape == (1, 1 + high * (41 - high), 32)


def test_vit_takes_other_sizes_and_no_others() -> None:
    network = small_vit()
    maps = [network.as_map(out) for out in network(torch.randn(2, 3, 48, 24))]
    assert [m.shape for m in maps] == [(2, 32, 6, 3)] * 5
    with pytest.raises(ShapeError, match=r"50 x 48 pixels .* a multiple of 8"):
        network(torch.randn(1, 3, 48, 50))


def test_maps_keep_places() -> None:
    """What changes in one patch changes its own token the most in the first map."""
    network = small_vit()
    x = torch.randn(1, 3, 32, 32)
    y = x.clone()
    y[:, :, 8:16, 24:32] += 3
    with torch.no_grad():
        change = (network.as_map(network(y)[0]) - network.as_map(network(x)[0])).abs().sum(1)[0]
    assert change[1, 3] > 0
    change[1, 3] = 0
    assert change.max() == 0


@pytest.mark.parametrize("upto", ["none", "patches", "blocks2", "all"])
def test_trunk_gives_what_the_vit_gives(upto: str) -> None:
    network = small_vit()
    x = torch.randn(3, 3, 40, 40)
    frozen = freeze(network, upto)
    assert network.cls_token.requires_grad == (frozen == 0)
    maps = Trunk(network, (2, 4), precision="fp32")(x)
    for i, out in enumerate(network(x)):
        if i in maps:
            torch.testing.assert_close(maps[i], network.as_map(out), rtol=1e-3, atol=1e-4)
    assert maps[4].requires_grad == (upto != "all")


@pytest.mark.parametrize("name", ["vit_s16", "dinov2_s14"])
def test_bf16_vit_is_close_to_fp32(name: str) -> None:
    network: Backbone = build(name, "random")
    shaken(network)
    freeze(network, "all")
    x = torch.randn(2, 3, 112, 112)
    maps = Trunk(network, (2, 3, 4), precision="bf16", compiled=False)(x)
    for i, out in enumerate(network(x)):
        if i in maps:
            assert maps[i].dtype == torch.float32
            a, b = maps[i], network.as_map(out)
            assert F.cosine_similarity(a, b, dim=1).min() >= 0.999


def test_trunk_notices_new_positions() -> None:
    network = small_vit()
    freeze(network, "all")
    run = Trunk(network, (4,))
    x = torch.randn(1, 3, 32, 32)
    before = run(x)[4]
    with torch.no_grad():
        network.pos_embed.add_(torch.randn_like(network.pos_embed))
    assert not torch.allclose(run(x)[4], before, atol=1e-2)
