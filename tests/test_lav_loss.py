"""Soft time warping against all paths, regularisation against loops."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marey.errors import ShapeError
from marey.losses.lav import alignment_costs, contrastive_idm, lav_loss, soft_dtw


def path_costs(cost: Tensor, i: int = 0, j: int = 0) -> Iterator[float]:
    """What every monotone path from (i, j) to the last cell costs."""
    here, (n, m) = float(cost[i, j]), cost.shape
    if (i, j) == (n - 1, m - 1):
        yield here
    for a, b in ((i + 1, j), (i, j + 1), (i + 1, j + 1)):
        if a < n and b < m:
            yield from (here + rest for rest in path_costs(cost, a, b))


def slow_dtw(cost: Tensor, gamma: float) -> float:
    """-gamma log of the sum over all paths of exp(-cost / gamma)."""
    costs = list(path_costs(cost))
    least = min(costs)
    return least - gamma * math.log(sum(math.exp((least - c) / gamma) for c in costs))


def slow_idm(
    z: Tensor, frames: Tensor, valid: Tensor, length: int, sigma: float, margin: float
) -> float:
    total = 0.0
    for i in range(len(z)):
        for j in range(len(z)):
            if not (valid[i] and valid[j]):
                continue
            distance = float(((z[i] - z[j]) ** 2).sum())
            apart = abs(int(frames[i]) - int(frames[j]))
            if apart > sigma:
                total += (1 + (apart / length) ** 2) * max(0.0, margin - distance)
            else:
                total += distance
    return total


def world(seed: int, batch: int, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unit vectors, frame numbers, valid with one frame at least, lengths."""
    rng = np.random.default_rng(seed)
    z = F.normalize(torch.from_numpy(rng.normal(size=(batch, length, 3))), dim=-1)
    frames = torch.from_numpy(np.sort(rng.integers(0, 40, (batch, length)), axis=-1))
    valid = torch.from_numpy(np.arange(length) < rng.integers(1, length + 1, (batch, 1)))
    return z, frames, valid, torch.from_numpy(rng.integers(40, 60, batch))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 5), st.sampled_from([0.01, 0.1, 2.0])
)
def test_soft_time_warping_sums_over_all_paths(seed: int, n: int, m: int, gamma: float) -> None:
    rng = np.random.default_rng(seed)
    cost = torch.from_numpy(rng.random((3, n, m)) * 3)
    rows, columns = (torch.from_numpy(rng.integers(1, size + 1, 3)) for size in (n, m))
    found = soft_dtw(cost, gamma, rows, columns)
    for table, r, c, value in zip(cost, rows, columns, found, strict=True):
        assert value.item() == pytest.approx(slow_dtw(table[:r, :c], gamma), rel=1e-9, abs=1e-9)


def test_all_of_the_table_counts_unless_told_otherwise() -> None:
    cost = torch.rand(2, 4, 5, dtype=torch.float64)
    whole = soft_dtw(cost, 0.1, torch.tensor([4, 4]), torch.tensor([5, 5]))
    assert torch.equal(soft_dtw(cost, 0.1), whole)


def test_gradient_of_soft_time_warping() -> None:
    cost = torch.rand(3, 4, 5, dtype=torch.float64, requires_grad=True)
    rows, columns = torch.tensor([4, 2, 1]), torch.tensor([5, 5, 2])
    assert torch.autograd.gradcheck(lambda c: soft_dtw(c, 0.3, rows, columns), cost)
    (grad,) = torch.autograd.grad(soft_dtw(cost, 0.3, rows, columns).sum(), cost)
    for table, r, c in zip(grad, rows, columns, strict=True):
        assert (table[:r, :c] > 0).all()  # some path leads through every cell
        assert (table[r:] == 0).all()
        assert (table[:, c:] == 0).all()
        torch.testing.assert_close(table[0, 0].item(), 1.0)  # and all through the first


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12))
def test_either_way_round_and_backwards_it_costs_the_same(seed: int, n: int, m: int) -> None:
    cost = torch.from_numpy(np.random.default_rng(seed).random((2, n, m)))
    value = soft_dtw(cost, 0.1)
    torch.testing.assert_close(soft_dtw(cost.transpose(1, 2), 0.1), value)
    torch.testing.assert_close(soft_dtw(cost.flip(1, 2), 0.1), value)


def test_hard_warping_is_the_limit() -> None:
    cost = torch.rand(1, 6, 6, dtype=torch.float64)
    assert soft_dtw(cost, 1e-4).item() == pytest.approx(min(path_costs(cost[0])), abs=1e-3)


@pytest.mark.parametrize("gamma", [0.001, 0.1, 10.0])
def test_long_tables_stay_finite_in_single_precision(gamma: float) -> None:
    cost = (10 * torch.rand(1, 150, 90)).requires_grad_()
    value = soft_dtw(cost, gamma)
    value.sum().backward()
    assert cost.grad is not None
    assert torch.isfinite(cost.grad).all()
    want = soft_dtw(cost.detach().double(), gamma)
    torch.testing.assert_close(value.detach().double(), want, rtol=1e-5, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 6), st.floats(0, 30))
def test_regularisation_equals_loops(seed: int, batch: int, length: int, sigma: float) -> None:
    z, frames, valid, lengths = world(seed, batch, length)
    found = contrastive_idm(z, frames, valid, lengths, sigma=sigma, margin=1.5)
    for b in range(batch):
        want = slow_idm(z[b], frames[b], valid[b], int(lengths[b]), sigma, 1.5)
        assert found[b].item() == pytest.approx(want, rel=1e-9, abs=1e-9)


def test_the_parts_are_those_of_each_pair() -> None:
    z, frames, valid, lengths = world(4, 3, 5)
    pairs = torch.tensor([(0, 1), (0, 2)])
    alignment, apart = lav_loss(z, frames, valid, lengths, pairs, alpha=0.5)
    warped, spread = [], []
    for u, v in pairs.tolist():
        n, m = int(valid[u].sum()), int(valid[v].sum())
        cost = ((z[u, :n, None] - z[v, None, :m]) ** 2).sum(-1)
        warped.append(slow_dtw(cost, 0.1) / ((n + m) / 2))
        moments = [slow_idm(z[b], frames[b], valid[b], int(lengths[b]), 10, 2) for b in (u, v)]
        spread.append(0.5 * sum(moments) / ((n + m) / 2))
    assert alignment.item() == pytest.approx(np.mean(warped))
    assert apart.item() == pytest.approx(np.mean(spread))


def test_gradient_is_that_of_the_loss() -> None:
    z, frames, valid, lengths = world(1, 3, 5)
    pairs = torch.tensor([(0, 1), (1, 2)])

    def loss(z: Tensor) -> Tensor:
        return sum(lav_loss(z, frames, valid, lengths, pairs), start=z.new_zeros(()))

    assert torch.autograd.gradcheck(loss, z.requires_grad_())


def test_padding_changes_nothing_and_gets_no_gradient() -> None:
    z, frames, _, lengths = world(2, 2, 7)
    valid = torch.ones(2, 7, dtype=torch.bool)
    valid[0, 4:] = False
    pairs = torch.tensor([(0, 1)])
    z.requires_grad_()
    parts = lav_loss(z, frames, valid, lengths, pairs)
    sum(parts, start=z.new_zeros(())).backward()
    assert z.grad is not None
    assert (z.grad[0, 4:] == 0).all()
    assert (z.grad[valid] != 0).any(-1).all()
    moved = z.detach().clone()
    moved[0, 4:] = 30.0
    again = lav_loss(moved, frames, valid, lengths, pairs)
    assert [part.item() for part in again] == [part.item() for part in parts]
    alone = alignment_costs(z[:, :7], valid, pairs)
    short = soft_dtw(((z[:1, :4, None] - z[1:, None]) ** 2).sum(-1), 0.1)
    torch.testing.assert_close(alone, short)


def test_alike_and_spread_out_costs_least() -> None:
    angle = torch.linspace(0, 3.1, 20)
    arc = torch.stack((angle.cos(), angle.sin()), -1)
    frames, valid = torch.arange(20).expand(2, 20) * 4, torch.ones(2, 20, dtype=torch.bool)

    def loss(a: Tensor, b: Tensor) -> tuple[float, float]:
        parts = lav_loss(
            torch.stack((a, b)), frames, valid, torch.tensor([80, 80]), torch.tensor([(0, 1)])
        )
        return parts[0].item(), parts[1].item()

    same, backwards, collapsed = (
        loss(arc, arc),
        loss(arc, arc.flip(0)),
        loss(*[arc[:1].expand(20, 2)] * 2),
    )
    assert same[0] < backwards[0]
    assert same[1] < collapsed[1]
    assert sum(same) < min(sum(backwards), sum(collapsed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_and_precise_in_every_precision(dtype: torch.dtype) -> None:
    z, frames, valid, lengths = world(5, 2, 6)
    leaf = z.to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        parts = lav_loss(leaf, frames, valid, lengths, torch.tensor([(0, 1)]))
    want = lav_loss(leaf.detach().double(), frames, valid, lengths, torch.tensor([(0, 1)]))
    for part, exact in zip(parts, want, strict=True):
        assert part.dtype == torch.float32
        assert part.item() == pytest.approx(exact.item(), rel=1e-5)
    sum(parts, start=torch.zeros(())).backward()
    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()


def test_wrong_shapes_are_refused() -> None:
    z, frames, valid, lengths = world(0, 2, 4)
    with pytest.raises(ShapeError, match="cost must be"):
        soft_dtw(z[0], 0.1)
    with pytest.raises(ShapeError, match="do not fit"):
        contrastive_idm(z, frames[:, :3], valid, lengths)
