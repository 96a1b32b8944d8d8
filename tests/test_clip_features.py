"""Features of clips on the fast way: what the network gives, without graph."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from marey import device
from marey.config import ClipEncoderConfig, Precision
from marey.errors import ShapeError
from marey.methods import build
from marey.models.clip_encoder import NETWORKS, ClipEncoder
from marey.models.trunk import Trunk
from marey.recipes import mcl_tiny

COMPILED = pytest.param(
    True,
    marks=pytest.mark.skipif(not device.can_compile()[0], reason=device.can_compile()[1]),
)


def encoder(name: str, precision: Precision = "fp32", compiled: bool = False) -> ClipEncoder:
    """Untrained, but with the statistics of its BatchNorms, and ready to give features."""
    torch.manual_seed(0)
    made = ClipEncoder(ClipEncoderConfig(backbone=name), ["one"], precision)
    with torch.no_grad():
        made.train()(clips(4))
    made._fast = Trunk(made._fast.backbone, (0,), precision=precision, compiled=compiled)
    return made.eval()


def clips(count: int, length: int = 8, size: int = 32) -> Tensor:
    return torch.randn(count, length, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("compiled", [False, COMPILED])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["r2plus1d_small", "r2plus1d_18"])
def test_gives_what_the_network_gives(name: str, precision: Precision, compiled: bool) -> None:
    network, x = encoder(name, precision, compiled), clips(5)
    features = network.features(x)
    path = "compiled" if compiled else "eager"
    assert network._fast.path.startswith(path)
    with torch.no_grad():
        want = network(x)[0]
    assert features.dtype == torch.float32
    assert features.shape == want.shape == (5, network.backbone.channels)
    least = 0.99999 if precision == "fp32" else 0.999
    assert torch.cosine_similarity(features, want).min() >= least
    for part in (slice(0, 1), slice(1, 4), slice(4, 5)):
        assert torch.equal(network.features(x[part]), features[part])


def test_of_any_length_and_size() -> None:
    network = encoder("r2plus1d_small")
    for length, size in ((8, 32), (12, 32), (8, 40), (8, 32)):
        x = clips(2, length, size)
        with torch.no_grad():
            want = network(x)[0]
        torch.testing.assert_close(network.features(x), want, rtol=1e-3, atol=1e-4)


def test_what_is_too_short_is_said() -> None:
    with pytest.raises(ShapeError, match="T >= 4"):
        encoder("r2plus1d_small").features(clips(1, length=3))


@pytest.mark.parametrize("name", NETWORKS)
def test_norms_are_folded_away_where_convolutions_are_behind_them(name: str) -> None:
    network, x = encoder(name), clips(2, length=8, size=32)
    with torch.no_grad():
        want = network(x)[0]
    torch.testing.assert_close(network.features(x), want, rtol=1e-3, atol=1e-4)
    frozen = network._fast._eager
    assert frozen is not None
    norms = [sum("BatchNorm" in type(m).__name__ for m in n.modules()) for n in (network, frozen)]
    assert norms[1] < norms[0] / 2


def test_follows_the_weights_and_the_statistics() -> None:
    network, x = encoder("r2plus1d_small"), clips(3)
    before = network.features(x)
    with torch.no_grad():
        network.train()(5 * clips(4))  # which moves the means of the BatchNorms alone
        network.eval()
        want = network(x)[0]
    after = network.features(x)
    assert not torch.allclose(before, after, rtol=1e-2)
    torch.testing.assert_close(after, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("compiled", [False, COMPILED])
def test_a_copy_goes_its_own_way(compiled: bool) -> None:
    network, x = encoder("r2plus1d_small", compiled=compiled), clips(3)
    before = network.features(x)
    other = copy.deepcopy(network)
    assert torch.equal(other.features(x), before)
    with torch.no_grad():
        next(other.backbone.parameters()).mul_(3)
    assert not torch.allclose(other.features(x), before, rtol=1e-2)
    assert torch.equal(network.features(x), before)


def test_a_method_learns_with_graph_and_embeds_without() -> None:
    method, x = build(mcl_tiny()), clips(3)
    assert method.train().features(x).requires_grad
    assert method.eval().features(x).requires_grad
    with torch.no_grad():
        want = method.encoder(x)[0]  # type: ignore[operator]
        features = method.features(x)
    assert torch.cosine_similarity(features, want).min() >= 0.999
    names = method.state_dict().keys()
    assert not [name for name in names if "_fast" in name]
