"""MCL's losses against the released values, slow twins, and second derivatives."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from marey.errors import ConfigError, ShapeError
from marey.losses.mcl import Queue, gradient_alignment, inter_loss, intra_loss, order_loss


def unit(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def golden(shared: Path, name: str) -> dict[str, Tensor]:
    with np.load(shared / "golden" / f"{name}.npz") as data:
        return {key: torch.as_tensor(data[key]) for key in data}


def slow_inter(query: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    losses = []
    for key in keys:
        for q, k in zip(query, key, strict=True):
            positive = torch.exp(q @ k / temperature)
            negative = sum((torch.exp(q @ n / temperature) for n in queue), torch.zeros(()))
            losses.append(-torch.log(positive / (positive + negative)))
    return torch.stack(losses).mean()


def slow_intra(query: Tensor, keys: Tensor, temperature: float) -> Tensor:
    losses = []
    for other in keys[1:]:
        for q, k, n in zip(query, keys[0], other, strict=True):
            logits = torch.stack([q @ k, q @ n]) / temperature
            losses.append(-torch.log_softmax(logits, 0)[0])
    return torch.stack(losses).mean()


def slow_alignment(gradient: Tensor, motion: Tensor) -> tuple[list[Tensor], Tensor]:
    def cosine(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum() / a.norm() / b.norm()

    rows = []
    for g, m in zip(gradient, motion, strict=True):
        slices = g.shape[1]
        p = torch.stack(
            [
                torch.relu(sum((c[s].mean() * c[s] for c in g), torch.zeros(())))
                for s in range(slices)
            ]
        )
        weights = torch.softmax(torch.stack([m[s].sum() for s in range(slices)]), 0)
        both = sum((weights[s] * cosine(p[s], m[s]) for s in range(slices)), torch.zeros(()))
        space = cosine(p.mean(0), m.mean(0))
        time = cosine(p.sum((1, 2)), m.sum((1, 2)))
        rows.append(torch.stack([both, space, time]))
    similarities = torch.stack(rows)
    return list(similarities.unbind(1)), (1 - similarities).mean(0).sum()


def test_released_contrast(shared: Path) -> None:
    data = golden(shared, "mcl_contrast")
    temperature = float(data["temperature"])
    inter = inter_loss(
        data["inter_query"], data["inter_keys"], data["queue"], temperature=temperature
    )
    intra = intra_loss(data["intra_query"], data["intra_keys"], temperature=temperature)
    torch.testing.assert_close(inter, data["inter_loss"], rtol=1e-6, atol=0)
    torch.testing.assert_close(intra, data["intra_loss"], rtol=1e-6, atol=0)
    queue = Queue(64, 16).double()
    queue.vectors.copy_(data["queue"])
    queue.enqueue(data["inter_keys"])
    torch.testing.assert_close(queue.vectors, data["queue_after"], rtol=1e-6, atol=0)


def test_released_alignment(shared: Path) -> None:
    data = golden(shared, "gradient_alignment")
    gradient = data["gradient"].requires_grad_()
    got = gradient_alignment(gradient, data["motion"])
    for name in ("spatiotemporal", "spatial", "temporal", "loss"):
        torch.testing.assert_close(getattr(got, name), data[name], rtol=1e-6, atol=0)
    got.loss.backward()
    torch.testing.assert_close(gradient.grad, data["loss_grad"], rtol=1e-5, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 999),
    videos=st.integers(1, 4),
    others=st.integers(1, 3),
    temperature=st.floats(0.07, 1),
)
def test_contrast_twin(seed: int, videos: int, others: int, temperature: float) -> None:
    query = unit(seed, videos, 6).requires_grad_()
    keys, queue = unit(seed + 1, 1 + others, videos, 6), unit(seed + 2, 9, 6)
    for got, want in (
        (
            inter_loss(query, keys, queue, temperature=temperature),
            slow_inter(query, keys, queue, temperature),
        ),
        (
            intra_loss(query, keys, temperature=temperature),
            slow_intra(query, keys, temperature),
        ),
    ):
        torch.testing.assert_close(got, want, check_dtype=False)
        gradients = [torch.autograd.grad(loss, query)[0] for loss in (got, want)]
        torch.testing.assert_close(*gradients, check_dtype=False)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), slices=st.integers(1, 4), side=st.integers(2, 4))
def test_alignment_twin(seed: int, slices: int, side: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    gradient = torch.randn(2, 5, slices, side, side, generator=generator, dtype=torch.float64)
    gradient = (gradient + 0.5).requires_grad_()
    motion = torch.rand(2, slices, side, side, generator=generator, dtype=torch.float64)
    got = gradient_alignment(gradient, motion)
    similarities, loss = slow_alignment(gradient, motion)
    for a, b in zip(got[:3], similarities, strict=True):
        torch.testing.assert_close(a, b, check_dtype=False)
    torch.testing.assert_close(got.loss, loss, check_dtype=False)
    gradients = [torch.autograd.grad(x, gradient)[0] for x in (got.loss, loss)]
    torch.testing.assert_close(*gradients, check_dtype=False)


def test_keys_and_queue_get_no_gradient() -> None:
    query, keys = unit(0, 2, 8).requires_grad_(), unit(1, 3, 2, 8).requires_grad_()
    loss = inter_loss(query, keys, unit(2, 4, 8)) + intra_loss(query, keys)
    loss.backward()
    assert query.grad is not None
    assert keys.grad is None


def test_contrast_rewards_the_right_answer() -> None:
    query, queue = unit(0, 3, 8), unit(1, 16, 8)
    same, other = query.expand(3, 3, 8), torch.stack([query, unit(2, 3, 8), unit(3, 3, 8)])
    assert inter_loss(query, same, queue) < inter_loss(query, other, queue)
    assert intra_loss(query, other) < intra_loss(query, same) == pytest.approx(math.log(2))
    half = inter_loss(query.bfloat16(), same.bfloat16(), queue)
    assert half.dtype == torch.float32
    assert half == pytest.approx(float(inter_loss(query, same, queue)), rel=0.05)


def test_order_is_told_by_the_classifier() -> None:
    query, keys = unit(0, 4, 5), unit(1, 2, 4, 5)
    order = torch.tensor([0, 1, 1, 0])
    torch.manual_seed(0)
    linear = nn.Linear(15, 2).double()
    logits = linear(torch.cat([query, keys[0], keys[1]], 1))
    want = -torch.log_softmax(logits, 1)[torch.arange(4), order].mean()
    torch.testing.assert_close(order_loss(query, keys, order, linear), want)


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1e6])
def test_alignment_does_not_depend_on_the_gradients_scale(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(2, 6, 4, 7, 7, generator=generator) + 0.3
    motion = torch.rand(2, 4, 7, 7, generator=generator)
    torch.testing.assert_close(
        gradient_alignment(gradient * scale, motion), gradient_alignment(gradient, motion)
    )


def test_alignment_knows_where_and_when() -> None:
    motion = torch.zeros(1, 4, 7, 7)
    motion[0, 1, 2, 3] = motion[0, 2, 2, 4] = 20
    looks = motion[:, None].repeat(1, 3, 1, 1, 1)
    assert gradient_alignment(looks, motion).loss == pytest.approx(0, abs=1e-5)
    assert gradient_alignment(looks.flip(-1), motion).spatial == pytest.approx(0.5, abs=1e-5)
    assert gradient_alignment(looks.roll(2, 2), motion).temporal == pytest.approx(0, abs=1e-5)
    assert gradient_alignment(looks.roll(2, 2), motion).spatiotemporal < 1e-5


def test_alignment_without_motion_or_gradient_is_finite() -> None:
    gradient = torch.randn(2, 3, 4, 7, 7)
    gradient[1] = 0
    gradient.requires_grad_()
    got = gradient_alignment(gradient, torch.zeros(2, 4, 7, 7))
    got.loss.backward()
    assert got.loss == 3
    assert gradient.grad is not None
    assert torch.isfinite(gradient.grad).all()
    moving = gradient_alignment(gradient, torch.ones(2, 4, 7, 7))
    assert torch.isfinite(torch.autograd.grad(moving.loss, gradient)[0]).all()


def test_alignment_reaches_the_weights_through_second_derivatives() -> None:
    """The loss of a gradient, against finite differences in a weight."""
    torch.manual_seed(0)
    first, last = (nn.Conv3d(2, 3, 3, padding=1), nn.Conv3d(3, 4, 3, padding=1))
    head = nn.Linear(4, 5)
    for module in (first, last, head):
        module.double()
    clip, key = torch.randn(2, 2, 2, 5, 5).double(), unit(0, 2, 5)
    motion = torch.rand(2, 2, 5, 5).double()

    def loss() -> Tensor:
        features = last(torch.tanh(first(clip)))
        query = F.normalize(head(torch.tanh(features).mean((2, 3, 4))), dim=1)
        similarity = (query * key).sum()
        (gradient,) = torch.autograd.grad(similarity, features, create_graph=True)
        return gradient_alignment(gradient, motion).loss

    weights = [first.weight, last.weight, head.weight]
    for weight, analytic in zip(weights, torch.autograd.grad(loss(), weights), strict=True):
        assert analytic.abs().max() > 1e-6
        place = int(analytic.abs().argmax())
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight.view(-1)[place] += step
            values.append(float(loss().detach()))
            with torch.no_grad():
                weight.view(-1)[place] -= step
        numeric = (values[0] - values[1]) / 2e-5
        assert float(analytic.view(-1)[place]) == pytest.approx(numeric, rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 12), steps=st.lists(st.integers(1, 4), max_size=8))
def test_queue_keeps_the_most_recent_keys(size: int, steps: list[int]) -> None:
    torch.manual_seed(0)
    queue = Queue(size, 3)
    torch.testing.assert_close(queue.vectors.norm(dim=1), torch.ones(size))
    want = list(queue.vectors.clone())
    for i, videos in enumerate(s for s in steps if s <= size):
        keys = unit(i, 1, videos, 3).float()
        queue.enqueue(keys.requires_grad_())
        want = want[videos:] + list(keys.detach()[0])
    order = (torch.arange(size) + queue.pointer) % size
    torch.testing.assert_close(queue.vectors[order], torch.stack(want))
    assert not queue.vectors.requires_grad


def test_queue_is_saved_with_its_pointer() -> None:
    queue, other = Queue(8, 4), Queue(8, 4)
    queue.enqueue(unit(0, 1, 3, 4))
    other.load_state_dict(queue.state_dict())
    for each in (queue, other):
        each.enqueue(unit(1, 1, 2, 4))
    torch.testing.assert_close(other.vectors, queue.vectors)
    assert int(other.pointer) == 5
    assert list(queue.parameters()) == []


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="6 keys, more than the queue of 4"):
        Queue(4, 5).enqueue(unit(0, 3, 2, 5))
    with pytest.raises(ShapeError, match="do not fit a query"):
        inter_loss(unit(0, 2, 5), unit(0, 3, 4, 5), unit(0, 4, 5))
    with pytest.raises(ShapeError, match="same clip and one of another"):
        intra_loss(unit(0, 2, 5), unit(0, 1, 2, 5))
    with pytest.raises(ShapeError, match="2 keys, not 3"):
        order_loss(unit(0, 2, 5), unit(0, 3, 2, 5), torch.zeros(2).long(), nn.Identity())
    with pytest.raises(ShapeError, match="does not fit motion maps"):
        gradient_alignment(torch.zeros(1, 2, 4, 7, 7), torch.zeros(1, 2, 7, 7))
