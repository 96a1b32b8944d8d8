"""The temporal transformer: positions, masks, and what it can know of time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from marey.errors import ShapeError
from marey.models import transformer
from marey.models.transformer import TemporalTransformer, rotate, stretched_sinusoids

POSITIONS = ["absolute", "rotary", "released"]


def network(position: str, seed: int = 0) -> TemporalTransformer:
    torch.manual_seed(seed)
    return TemporalTransformer(
        width=32,
        layers=2,
        heads=4,
        feedforward=64,
        position=position,
        train_rows=16,  # type: ignore[arg-type]
    ).eval()


def times(rows: int, batch: int = 1) -> Tensor:
    return torch.arange(rows).expand(batch, rows)


@pytest.mark.parametrize("position", POSITIONS)
def test_equals_pytorch_own_encoder_layer(position: str) -> None:
    ours = network(position)
    x = torch.randn(2, 10, 32)
    if position == "rotary":
        ours.blocks[0].attention.rotary = False  # type: ignore[union-attr, assignment]
    block = ours.blocks[0]
    theirs = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True).eval()
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": block.attention.qkv.weight,
            "self_attn.in_proj_bias": block.attention.qkv.bias,
            "self_attn.out_proj.weight": block.attention.out.weight,
            "self_attn.out_proj.bias": block.attention.out.bias,
            "linear1.weight": block.feedforward[0].weight,
            "linear1.bias": block.feedforward[0].bias,
            "linear2.weight": block.feedforward[3].weight,
            "linear2.bias": block.feedforward[3].bias,
            "norm1.weight": block.norm1.weight,
            "norm1.bias": block.norm1.bias,
            "norm2.weight": block.norm2.weight,
            "norm2.bias": block.norm2.bias,
        }
    )
    torch.testing.assert_close(block(x, times(10, 2), None), theirs(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("position", POSITIONS)
def test_padding_is_never_looked_at(position: str) -> None:
    model = network(position)
    x = torch.randn(2, 12, 32)
    valid = torch.ones(2, 12, dtype=torch.bool)
    valid[0, 9:] = False
    y = model(x, times(12, 2), valid)
    changed = x.clone()
    changed[0, 9:] = 50.0
    z = model(changed, times(12, 2), valid)
    torch.testing.assert_close(y[valid], z[valid])
    assert torch.isfinite(z).all()


@pytest.mark.parametrize("position", POSITIONS)
def test_many_rows_at_a_time_are_all_rows_at_once(
    position: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = network(position), torch.randn(2, 23, 32)
    valid = torch.ones(2, 23, dtype=torch.bool)
    valid[1, 17:] = False
    for mask in (None, valid):
        whole, given = model(x, times(23, 2), mask), x.clone()
        with monkeypatch.context() as few, torch.no_grad():
            few.setattr(transformer, "ROWS", 5)
            parts = model(x, times(23, 2), mask)
        torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)
        assert torch.equal(x, given), "the rows that were given are not to change"


def test_a_sequence_that_is_all_padding_stays_finite() -> None:
    x = torch.randn(1, 4, 32, requires_grad=True)
    y = network("rotary")(x, times(4), torch.zeros(1, 4, dtype=torch.bool))
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_rotary_sees_time_differences_alone() -> None:
    model, x = network("rotary"), torch.randn(1, 12, 32)
    torch.testing.assert_close(model(x, times(12)), model(x, times(12) + 500), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(model(x, times(12)), model(x, times(12) * 3), atol=1e-3)


def test_rotary_keeps_lengths_and_absolute_does_not_need_times() -> None:
    x = torch.randn(1, 2, 5, 8)
    torch.testing.assert_close(rotate(x, times(5)).norm(dim=-1), x.norm(dim=-1))
    model, y = network("absolute"), torch.randn(1, 12, 32)
    torch.testing.assert_close(model(y, times(12)), model(y, times(12) * 7))


def test_absolute_positions_are_stretched_to_the_training_length() -> None:
    short, long = stretched_sinusoids(16, 32, 16), stretched_sinusoids(31, 32, 16)
    torch.testing.assert_close(long[::2], short, atol=1e-6, rtol=0)
    assert stretched_sinusoids(1, 32, 16).shape == (1, 32)


def test_absolute_positions_tell_the_clock_and_rotary_ones_do_not() -> None:
    """The same picture throughout: only positions can tell its frames apart."""
    still = torch.randn(1, 1, 32).expand(1, 20, 32)
    spread = {p: network(p)(still, times(20)).std(1).mean().item() for p in POSITIONS}
    assert spread["absolute"] > 100 * spread["rotary"]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="x must be"):
        network("rotary")(torch.randn(1, 4, 32), times(5))
