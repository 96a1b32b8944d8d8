"""N-pairs against a slow twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marey.errors import ShapeError
from marey.losses.tcn import n_pairs


def slow(z: Tensor, valid: Tensor, regularisation: float) -> float:
    """One pair at a time, from the definition."""
    losses = []
    for video, real in zip(z, valid, strict=True):
        pairs = [k for k in range(len(video) // 2) if real[2 * k] and real[2 * k + 1]]
        for k in pairs:
            anchor, positive = video[2 * k], video[2 * k + 1]
            near = [float(anchor @ video[2 * other + 1]) for other in pairs]
            cross = -float(anchor @ positive) + math.log(sum(math.exp(s) for s in near))
            size = float(anchor @ anchor + positive @ positive)
            losses.append(cross + regularisation / 4 * size)
    return float(np.mean(losses)) if losses else 0.0


def world(seed: int, batch: int, pairs: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    z = torch.from_numpy(rng.normal(size=(batch, 2 * pairs, 3)))
    valid = np.arange(2 * pairs) < rng.integers(0, 2 * pairs + 1, (batch, 1))
    return z, torch.from_numpy(valid)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 5))
def test_equals_a_slow_twin(seed: int, batch: int, pairs: int) -> None:
    z, valid = world(seed, batch, pairs)
    loss = n_pairs(z, valid, regularisation=0.3)
    assert loss.item() == pytest.approx(slow(z, valid, 0.3), rel=1e-9, abs=1e-12)


def test_gradient_is_that_of_the_loss() -> None:
    z, valid = world(3, 2, 3)
    valid[0] = True
    assert torch.autograd.gradcheck(lambda z: n_pairs(z, valid), z.requires_grad_())


def test_padding_changes_nothing_and_gets_no_gradient() -> None:
    z, _ = world(0, 2, 4)
    valid = torch.ones(2, 8, dtype=torch.bool)
    valid[0, 5:] = False  # the third pair lacks its positive
    z.requires_grad_()
    loss = n_pairs(z, valid)
    loss.backward()
    assert z.grad is not None
    assert (z.grad[0, 4:] == 0).all()
    assert (z.grad[0, :4] != 0).all()
    moved = z.detach().clone()
    moved[0, 4:] = 100.0
    assert n_pairs(moved, valid).item() == loss.item()


def test_the_order_of_pairs_does_not_matter() -> None:
    z, valid = world(0, 2, 5)
    valid[:] = True
    order = torch.tensor([3, 0, 4, 2, 1])
    shuffled = z.unflatten(1, (5, 2))[:, order].flatten(1, 2)
    torch.testing.assert_close(n_pairs(shuffled, valid), n_pairs(z, valid))


def test_pairs_alike_cost_less_than_pairs_apart() -> None:
    corners = 3 * torch.eye(4)
    alike, apart = (
        n_pairs(torch.stack((corners, other), 1).flatten(0, 1)[None], torch.ones(1, 8) > 0)
        for other in (corners, corners.roll(1, 0))
    )
    assert alike < 0.1 < apart


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_in_every_precision_even_with_nothing_valid(dtype: torch.dtype) -> None:
    z, valid = world(5, 2, 3)
    for mask in (valid, torch.zeros_like(valid)):
        leaf = (z * 50).to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            loss = n_pairs(leaf, mask)
        loss.backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


def test_wrong_shapes_are_refused() -> None:
    z, valid = world(0, 2, 2)
    with pytest.raises(ShapeError, match="T even"):
        n_pairs(z[:, :3], valid[:, :3])
    with pytest.raises(ShapeError, match="do not fit"):
        n_pairs(z, valid[:, :2])
