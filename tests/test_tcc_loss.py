"""Cycle-back regression against a slow twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marey.errors import ShapeError
from marey.losses.tcc import cycle_back, cycle_back_regression


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    weights = [math.exp(value - top) for value in values]
    return [weight / sum(weights) for weight in weights]


def slow(z: Tensor, times: Tensor, valid: Tensor, pairs: Tensor) -> tuple[float, float]:
    """One frame at a time, from the definition."""

    def like(a: Tensor, b: Tensor) -> float:
        return -float(((a - b) ** 2).sum()) / len(a) / 0.1

    losses, errors = [], []
    for u, v in pairs.tolist():
        mine = [i for i in range(z.shape[1]) if valid[u, i]]
        others = [j for j in range(z.shape[1]) if valid[v, j]]
        for i in mine if others else []:
            alpha = softmax([like(z[u, i], z[v, j]) for j in others])
            neighbour = sum(a * z[v, j] for a, j in zip(alpha, others, strict=True))
            assert isinstance(neighbour, Tensor)
            beta = softmax([like(neighbour, z[u, k]) for k in mine])
            t = [float(times[u, k]) for k in mine]
            mean = sum(b * s for b, s in zip(beta, t, strict=True))
            variance = sum(b * (s - mean) ** 2 for b, s in zip(beta, t, strict=True)) + 1e-6
            error = float(times[u, i]) - mean
            losses.append(error**2 / variance + 0.001 * math.log(variance))
            errors.append(abs(error))
    return (float(np.mean(losses)), float(np.mean(errors))) if losses else (0.0, 0.0)


def world(seed: int, batch: int, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    z = torch.from_numpy(rng.normal(size=(batch, length, 4)))
    times = torch.from_numpy(np.sort(rng.random((batch, length)), axis=-1))
    valid = torch.from_numpy(np.arange(length) < rng.integers(0, length + 1, (batch, 1)))
    pairs = torch.tensor([(a, b) for a in range(batch) for b in range(batch) if a != b])
    return z, times, valid, pairs


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 6))
def test_equals_a_slow_twin(seed: int, batch: int, length: int) -> None:
    z, times, valid, pairs = world(seed, batch, length)
    loss, missed = cycle_back_regression(z, times, valid, pairs)
    assert (loss.item(), missed.item()) == pytest.approx(slow(z, times, valid, pairs), rel=1e-6)


def test_gradient_is_that_of_the_loss() -> None:
    z, times, valid, pairs = world(0, 3, 5)
    valid[:, :3] = True

    def loss(z: Tensor) -> Tensor:
        return cycle_back_regression(z, times, valid, pairs)[0]

    assert torch.autograd.gradcheck(loss, z.requires_grad_())


def test_padding_changes_nothing_and_gets_no_gradient() -> None:
    z, times, _, pairs = world(1, 3, 7)
    valid = torch.ones(3, 7, dtype=torch.bool)
    valid[0, 4:] = False
    z.requires_grad_()
    loss, missed = cycle_back_regression(z, times, valid, pairs)
    loss.backward()
    assert z.grad is not None
    assert (z.grad[0, 4:] == 0).all()
    assert (z.grad[valid] != 0).any(-1).all()
    moved, later = z.detach().clone(), times.clone()
    moved[0, 4:], later[0, 4:] = 50.0, 9.0
    again = cycle_back_regression(moved, later, valid, pairs)
    assert (again[0].item(), again[1].item()) == (loss.item(), missed.item())


def test_only_differences_of_times_and_of_embeddings_matter() -> None:
    z, times, valid, pairs = world(2, 3, 6)
    valid[:] = True
    turn, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    (one, _), (two, _) = (
        cycle_back_regression(*given, valid, pairs)
        for given in ((z, times), (z @ turn + 3.0, times + 0.4))
    )
    torch.testing.assert_close(one, two)


def test_videos_that_tell_their_frames_apart_come_back() -> None:
    line = torch.arange(12, dtype=torch.float64)[:, None] * torch.ones(4, dtype=torch.float64)
    times = torch.arange(12).expand(2, 12) / 12
    valid = torch.ones(2, 12, dtype=torch.bool)
    pairs = torch.tensor([(0, 1), (1, 0)])
    mean, variance = cycle_back(line.expand(2, 12, 4), times, valid, pairs)
    torch.testing.assert_close(mean, times.double(), atol=1e-3, rtol=0)
    assert variance.max() < 1e-3
    good, bad = (
        cycle_back_regression(z.expand(2, 12, 4), times, valid, pairs) for z in (line, 0 * line)
    )
    assert good[0] < bad[0]
    assert good[1] < 0.001 < 0.2 < bad[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_in_every_precision_even_with_nothing_valid(dtype: torch.dtype) -> None:
    z, times, valid, pairs = world(5, 3, 6)
    valid[1] = False
    for mask, size in ((valid, 1.0), (valid, 100.0), (torch.zeros_like(valid), 1.0)):
        leaf = (size * z).to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = cycle_back_regression(leaf, times, mask, pairs)
        loss.backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


def test_wrong_shapes_are_refused() -> None:
    z, times, valid, pairs = world(0, 2, 4)
    with pytest.raises(ShapeError, match="do not fit"):
        cycle_back(z, times[:, :3], valid, pairs)
    with pytest.raises(ShapeError, match="do not fit"):
        cycle_back(z[0], times, valid, pairs)
