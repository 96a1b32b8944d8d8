"""The sequence contrastive loss against the released values and a slow twin."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marey.errors import ShapeError
from marey.losses.sequence import sequence_contrastive_loss

NEGATIVES = ["single_noself", "single", "batch_noself"]


def slow(z: Tensor, times: Tensor, valid: Tensor, negatives: str, variance: float) -> float:
    """One frame at a time, from the definition; no floor inside the logarithm."""
    batch, _, length, _ = z.shape
    losses = []
    for b in range(batch):
        for v in range(2):
            others = [j for j in range(length) if valid[b, 1 - v, j]]
            for i in range(length):
                if not valid[b, v, i] or not others:
                    continue
                weight = [
                    math.exp(-(float(times[b, v, i] - times[b, 1 - v, j]) ** 2) / (2 * variance))
                    for j in others
                ]
                p = [w / sum(weight) for w in weight]
                near = [math.exp(float(z[b, v, i] @ z[b, 1 - v, j]) / 0.1) for j in others]
                total = sum(near)
                for c in range(batch):
                    for u in range(2):
                        own_view = (c, u) == (b, v) and negatives == "single"
                        other_video = c != b and negatives == "batch_noself"
                        if own_view or other_video:
                            for j in range(length):
                                if valid[c, u, j]:
                                    total += math.exp(float(z[b, v, i] @ z[c, u, j]) / 0.1)
                losses.append(
                    sum(
                        a * (math.log(a) - math.log(q / total))
                        for a, q in zip(p, near, strict=True)
                        if a > 0
                    )
                )
    return sum(losses) / len(losses) if losses else 0.0


def world(seed: int, batch: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    z = F.normalize(torch.from_numpy(rng.normal(size=(batch, 2, length, 4))), dim=-1)
    times = torch.from_numpy(np.sort(rng.integers(0, 30, (batch, 2, length)), axis=-1))
    counts = rng.integers(0, length + 1, (batch, 2, 1))
    return z, times, torch.from_numpy(np.arange(length) < counts)


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_equals_the_released_loss_and_gradient(shared: Path, negatives: str) -> None:
    golden = np.load(shared / "golden" / "scl.npz")
    z = torch.from_numpy(golden["embeddings"]).requires_grad_()
    loss = sequence_contrastive_loss(
        z,
        torch.from_numpy(golden["frames"]),
        torch.from_numpy(golden["mask"]) > 0,
        variance=float(golden["variance"]),
        temperature=float(golden["temperature"]),
        negatives=negatives,  # type: ignore[arg-type]
    )
    loss.backward()
    assert loss.item() == pytest.approx(float(golden[f"loss_{negatives}"]), rel=1e-4)
    assert z.grad is not None
    np.testing.assert_allclose(z.grad.numpy(), golden[f"grad_{negatives}"], atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 6), st.sampled_from(NEGATIVES))
def test_equals_a_slow_twin(seed: int, batch: int, length: int, negatives: str) -> None:
    z, times, valid = world(seed, batch, length)
    fast = sequence_contrastive_loss(
        z,
        times,
        valid,
        variance=5.0,
        negatives=negatives,
        floor=0.0,  # type: ignore[arg-type]
    )
    assert fast.item() == pytest.approx(slow(z, times, valid, negatives, 5.0), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_padding_changes_nothing_and_gets_no_gradient(negatives: str) -> None:
    z, times, _ = world(3, 2, 8)
    valid = torch.ones(2, 2, 8, dtype=torch.bool)
    valid[0, 0, 5:] = False
    z = z.clone().requires_grad_()
    loss = sequence_contrastive_loss(z, times, valid, negatives=negatives)  # type: ignore[arg-type]
    loss.backward()
    assert z.grad is not None
    assert (z.grad[0, 0, 5:] == 0).all()
    moved = z.detach().clone()
    moved[0, 0, 5:] = 100.0
    again = sequence_contrastive_loss(
        moved,
        times,
        valid,
        negatives=negatives,  # type: ignore[arg-type]
    )
    assert again.item() == pytest.approx(loss.item())


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_in_every_precision_even_with_nothing_valid(
    negatives: str, dtype: torch.dtype
) -> None:
    z, times, valid = world(5, 2, 6)
    for mask in (valid, torch.zeros_like(valid)):
        leaf = z.to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            loss = sequence_contrastive_loss(
                leaf,
                times * 1000,
                mask,
                negatives=negatives,  # type: ignore[arg-type]
            )
        loss.backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


def test_perfect_embeddings_cost_less_than_shuffled_ones() -> None:
    angle = torch.linspace(0, 3, 20)
    z = torch.stack((angle.cos(), angle.sin()), -1).expand(1, 2, 20, 2)
    times = torch.arange(20).expand(1, 2, 20)
    valid = torch.ones(1, 2, 20, dtype=torch.bool)
    shuffled = z.clone()
    shuffled[:, 1] = z[:, 1, torch.randperm(20, generator=torch.Generator().manual_seed(0))]
    good, bad = (sequence_contrastive_loss(x, times, valid) for x in (z, shuffled))
    assert good < bad


def test_wrong_shapes_are_refused() -> None:
    z, times, valid = world(0, 2, 4)
    with pytest.raises(ShapeError, match="embeddings must be"):
        sequence_contrastive_loss(z[:, :1], times, valid)
    with pytest.raises(ShapeError, match="first three axes"):
        sequence_contrastive_loss(z, times[..., :3], valid)
