"""The contrast between videos of one action, against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from marey.errors import ShapeError
from marey.losses.between import _share_of_paths, between_videos_loss
from marey.losses.lav import soft_dtw
from marey.losses.pairs import pairs_of_one_action


def paths(n: int, m: int) -> list[list[tuple[int, int]]]:
    """All warping paths through an n x m table."""
    found: list[list[tuple[int, int]]] = []

    def walk(path: list[tuple[int, int]]) -> None:
        i, j = path[-1]
        if (i, j) == (n - 1, m - 1):
            found.append(path)
        for k, step in ((i + 1, j + 1), (i + 1, j), (i, j + 1)):
            if k < n and step < m:
                walk([*path, (k, step)])

    walk([(0, 0)])
    return found


def slow(z, progress, valid, pairs, clock, width, reach, temperature, gamma):  # type: ignore[no-untyped-def]
    """The docstring's equations, one number at a time, over all paths."""
    terms = []
    for u, v in pairs.tolist():
        for a in (0, 1):
            n, m = int(valid[u, a].sum()), int(valid[v, 1 - a].sum())
            s, r = progress[u, a].tolist(), progress[v, 1 - a].tolist()
            like = [[float(z[u, a, i] @ z[v, 1 - a, j]) for j in range(m)] for i in range(n)]
            cost = [[1 - like[i][j] + clock * abs(s[i] - r[j]) for j in range(m)] for i in range(n)]
            every = paths(n, m)
            weights = [math.exp(-sum(cost[i][j] for i, j in path) / gamma) for path in every]
            for i in range(n):
                if min(abs(s[i] - r[j]) for j in range(m)) >= reach:
                    continue
                share = [
                    sum(w for w, path in zip(weights, every, strict=True) if (i, j) in path)
                    for j in range(m)
                ]
                match = sum(x * r[j] for j, x in enumerate(share)) / sum(share)
                p = [math.exp(-((r[j] - match) ** 2) / (2 * width**2)) for j in range(m)]
                q = [math.exp(like[i][j] / temperature) for j in range(m)]
                p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
                terms.append(sum(x * math.log(x / (y + 1e-6)) for x, y in zip(p, q, strict=True)))
    return sum(terms) / len(terms)


def batch(videos: int = 3, rows: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    z = F.normalize(torch.randn(videos, 2, rows, 4, dtype=torch.float64, generator=draw), dim=-1)
    progress = torch.rand(videos, 2, rows, dtype=torch.float64, generator=draw).sort(-1).values
    lengths = torch.randint(2, rows + 1, (videos, 2, 1), generator=draw)
    return z, progress, torch.arange(rows) < lengths


@pytest.mark.parametrize("clock", [0.0, 1.0])
def test_the_loss_is_that_of_the_loops(clock: float) -> None:
    z, progress, valid = batch()
    pairs = torch.tensor([[0, 1], [1, 0], [2, 0]])
    settings = {"clock": clock, "width": 0.2, "reach": 0.3, "temperature": 0.3, "gamma": 0.2}
    fast = between_videos_loss(z, progress, valid, pairs, **settings)
    assert float(fast) == pytest.approx(slow(z, progress, valid, pairs, **settings), rel=1e-6)


def test_the_alignment_is_the_gradient_of_soft_time_warping() -> None:
    cost = torch.rand(4, 7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows, columns = torch.tensor([7, 1, 4, 7]), torch.tensor([9, 5, 1, 3])
    free = cost.clone().requires_grad_()
    soft_dtw(free, 0.05, rows, columns).sum().backward()
    torch.testing.assert_close(_share_of_paths(cost, rows, columns, 0.05), free.grad)


def test_padding_has_no_influence_and_no_gradient() -> None:
    z, progress, valid = batch()
    pairs = torch.tensor([[0, 1], [1, 2]])
    z.requires_grad_()
    loss = between_videos_loss(z, progress, valid, pairs)
    loss.backward()
    assert z.grad is not None
    assert (z.grad[~valid] == 0).all()
    assert z.grad[valid].abs().max() > 0
    changed = torch.where(valid[..., None], z.detach(), torch.ones_like(z))
    assert between_videos_loss(changed, progress, valid, pairs) == pytest.approx(loss.item())


def test_frames_without_a_counterpart_do_not_count() -> None:
    z, _, _ = batch(2, 6)
    valid = torch.ones(2, 2, 6, dtype=torch.bool)
    early, late = torch.linspace(0, 0.3, 6), torch.linspace(0.7, 1, 6)
    progress = torch.stack((torch.stack((early, early)), torch.stack((late, late)))).double()
    pairs = torch.tensor([[0, 1], [1, 0]])
    assert between_videos_loss(z, progress, valid, pairs, reach=0.1) == 0
    assert between_videos_loss(z, progress, valid, pairs, reach=0.5) > 0


def test_where_the_clock_errs_embeddings_correct_it() -> None:
    """One video does everything late; its frames look like those that the other has early."""
    rows = 20
    phase = torch.linspace(0, 1, rows)
    late = phase**3

    def curve(at: torch.Tensor) -> torch.Tensor:
        return F.normalize(
            torch.exp(-((at[:, None] - torch.linspace(0, 1, 12)) ** 2) / 0.01), dim=-1
        )

    z = torch.stack([torch.stack((curve(phase),) * 2), torch.stack((curve(late),) * 2)])
    progress = phase.expand(2, 2, rows)
    valid = torch.ones(2, 2, rows, dtype=torch.bool)
    pairs = torch.tensor([[0, 1]])
    trusting, looking = (
        float(between_videos_loss(z, progress, valid, pairs, clock=clock)) for clock in (100.0, 0.3)
    )
    assert looking < 0.5 * trusting


def test_shapes_are_checked() -> None:
    z, progress, valid = batch()
    with pytest.raises(ShapeError, match="embeddings"):
        between_videos_loss(z[:, 0], progress, valid, torch.tensor([[0, 1]]))
    with pytest.raises(ShapeError, match="progress"):
        between_videos_loss(z, progress[:, :, 1:], valid, torch.tensor([[0, 1]]))


def test_a_batch_may_have_no_pair() -> None:
    assert pairs_of_one_action(torch.tensor([0, 1]), ["a", "b"]).shape == (0, 2)
