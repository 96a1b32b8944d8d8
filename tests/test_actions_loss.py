"""The contrast between videos of different actions, against plain loops."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from marey.errors import ShapeError
from marey.losses.actions import between_actions_loss


def slow(z, valid, group, temperature):  # type: ignore[no-untyped-def]
    """The docstring's equations, one number at a time."""
    videos, _, length, _ = z.shape
    terms = []
    for b in range(videos):
        for view in (0, 1):
            for i in range(length):
                if not valid[b, view, i]:
                    continue

                own, strangers = [], []
                for c, side, j in product(range(videos), (0, 1), range(length)):
                    if not valid[c, side, j]:
                        continue
                    value = math.exp(float(z[b, view, i] @ z[c, side, j]) / temperature)
                    if c == b and side != view:
                        own.append(value)
                    elif group[b] != group[c] and group[b] >= 0 and group[c] >= 0:
                        strangers.append(value)
                if own and strangers:
                    terms.append(-math.log(sum(own) / (sum(own) + sum(strangers))))
    return sum(terms) / len(terms) if terms else 0.0


@given(
    st.integers(0, 10_000),
    st.lists(st.sampled_from([-1, 0, 1, 7]), min_size=1, max_size=4),
    st.integers(1, 4),
    st.sampled_from([0.05, 0.3, 1.0]),
)
def test_it_is_its_equation(seed: int, groups: list[int], length: int, temperature: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    z = F.normalize(torch.randn(len(groups), 2, length, 5, generator=draw).double(), dim=-1)
    valid = torch.rand(len(groups), 2, length, generator=draw) < 0.6
    group = torch.tensor(groups)
    z.requires_grad_()
    loss = between_actions_loss(z, valid, group, temperature=temperature)
    assert loss.item() == pytest.approx(slow(z.detach(), valid, group, temperature), rel=1e-9)
    loss.backward()
    assert torch.isfinite(z.grad).all()
    assert (z.grad[~valid] == 0).all()


def test_its_gradient_is_the_slope() -> None:
    draw = torch.Generator().manual_seed(1)
    z = torch.randn(3, 2, 3, 4, generator=draw, dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([True, True, False]).expand(3, 2, 3)
    group = torch.tensor([0, 1, 1])
    assert torch.autograd.gradcheck(lambda x: between_actions_loss(x, valid, group), z)


def test_where_no_action_is_known_nothing_is_compared() -> None:
    z = torch.randn(3, 2, 4, 5)
    valid = torch.ones(3, 2, 4, dtype=torch.bool)
    for groups in ([-1, -1, -1], [2, 2, 2], [-1, 0, 0]):
        assert float(between_actions_loss(z, valid, torch.tensor(groups))) == 0


def test_it_falls_where_actions_lie_apart() -> None:
    a, b = torch.eye(2)
    group, valid = torch.tensor([0, 1]), torch.ones(2, 2, 6, dtype=torch.bool)
    apart = torch.stack([a, b])[:, None, None].expand(2, 2, 6, 2)
    mixed = torch.stack([torch.stack([a, b] * 3)] * 2)[:, None].expand(2, 2, 6, 2)
    together, separated = (float(between_actions_loss(z, valid, group)) for z in (mixed, apart))
    assert separated < 0.01 < together


def test_shapes_are_checked() -> None:
    z, valid, group = torch.randn(2, 2, 3, 4), torch.ones(2, 2, 3), torch.zeros(2)
    with pytest.raises(ShapeError, match="embeddings must be"):
        between_actions_loss(z[:, :1], valid[:, :1], group)
    with pytest.raises(ShapeError, match="valid must be"):
        between_actions_loss(z, valid[:, :, :2], group)
    with pytest.raises(ShapeError, match="group"):
        between_actions_loss(z, valid, group[:1])
