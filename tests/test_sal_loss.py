"""Order verification against loops."""

from __future__ import annotations

import math

import pytest
import torch

from marey.errors import ShapeError
from marey.losses.sal import gather_tuples, order_verification


def test_tuples_are_laid_end_to_end() -> None:
    z = torch.randn(2, 6, 3)
    places = torch.randint(6, (2, 4, 3))
    found = gather_tuples(z, places)
    for b in range(2):
        for k in range(4):
            assert torch.equal(found[b, k], torch.cat([z[b, int(i)] for i in places[b, k]]))


def test_equals_a_slow_twin_and_leaves_out_what_is_no_tuple() -> None:
    logits = torch.randn(3, 5, 2, dtype=torch.float64)
    labels = torch.randint(-1, 2, (3, 5), generator=torch.Generator().manual_seed(1))
    assert set(labels.flatten().tolist()) == {-1, 0, 1}
    losses = [
        math.log(math.exp(a) + math.exp(b)) - (a, b)[label]
        for (a, b), label in zip(
            logits.flatten(0, 1).tolist(), labels.flatten().tolist(), strict=True
        )
        if label >= 0
    ]
    logits.requires_grad_()
    loss = order_verification(logits, labels)
    assert loss.item() == pytest.approx(sum(losses) / len(losses))
    loss.backward()
    assert logits.grad is not None
    assert ((logits.grad != 0).all(-1) == (labels >= 0)).all()
    assert torch.autograd.gradcheck(lambda x: order_verification(x, labels), logits)


def test_without_a_tuple_the_loss_is_zero_with_a_gradient() -> None:
    logits = torch.randn(2, 3, 2, dtype=torch.bfloat16, requires_grad=True)
    loss = order_verification(logits, torch.full((2, 3), -1))
    loss.backward()
    assert (loss.item(), loss.dtype) == (0.0, torch.float32)
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="logits must be"):
        order_verification(torch.zeros(2, 3, 3), torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ShapeError, match="do not fit"):
        gather_tuples(torch.zeros(2, 3, 4), torch.zeros(3, 5, 3, dtype=torch.int64))
