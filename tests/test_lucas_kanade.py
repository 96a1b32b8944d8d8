"""Flow as a layer: what moves is found, what the camera does is taken out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from marey.errors import ConfigError
from marey.models.lucas_kanade import MotionCells, lucas_kanade, window_means

SIDE = 56


def texture(seed: int) -> torch.Tensor:
    """(1, 1, 96, 96) of smooth noise in 0..1."""
    noise = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=96, mode="bicubic").clamp(0, 1)


def seen(wide: torch.Tensor, right: int, down: int) -> torch.Tensor:
    """The part of a picture that a camera sees after everything moved so far."""
    return wide[..., 20 - down : 20 - down + SIDE, 20 - right : 20 - right + SIDE]


@pytest.mark.parametrize(("right", "down"), [(0, 0), (1, 0), (0, -1), (2, 1), (-2, -2)])
def test_a_shift_is_found(right: int, down: int) -> None:
    wide = texture(0)
    flow = lucas_kanade(seen(wide, 0, 0), seen(wide, right, down))
    inner = flow[0, :, 8:-8, 8:-8].flatten(1).median(1).values
    assert inner.tolist() == pytest.approx([right, down], abs=0.25)


def test_a_mirror_mirrors_the_flow() -> None:
    wide = texture(1)
    a, b = seen(wide, 0, 0), seen(wide, 1, 1)
    flow, mirrored = lucas_kanade(a, b), lucas_kanade(a.flip(-1), b.flip(-1)).flip(-1)
    torch.testing.assert_close(mirrored, flow * torch.tensor([-1.0, 1.0])[:, None, None])


def test_cells_show_the_actor_and_not_the_camera() -> None:
    ground, actor = texture(2), texture(3)

    def picture(camera: int, moved: int) -> torch.Tensor:
        frame = seen(ground, camera, 0).clone()
        frame[..., 20:36, 20:36] = actor[..., 20:36, 20 - moved : 36 - moved]
        return ((frame - 0.45) / 0.225).repeat(1, 3, 1, 1)

    cells = MotionCells(14)(picture(0, 0), picture(1, -1)).view(2, 14, 14)
    inside, outside = torch.zeros(14, 14, dtype=torch.bool), torch.ones(14, 14, dtype=torch.bool)
    inside[6:8, 6:8] = True
    outside[3:11, 3:11] = False
    outside[:1], outside[-1:], outside[:, :1], outside[:, -1:] = False, False, False, False
    # two pixels to the left of the ground, of 56: in hundredths of the side
    assert float(cells[0][inside].mean()) == pytest.approx(-200 / SIDE, abs=1.2)
    assert float(cells[0][outside].abs().median()) < 0.4


def test_windows_end_with_the_picture() -> None:
    x = torch.rand(2, 3, 9, 21, generator=torch.Generator().manual_seed(4))
    pooled = F.avg_pool2d(x, 7, 1, 3, count_include_pad=False)
    torch.testing.assert_close(window_means(x), pooled)


def test_a_pair_knows_of_no_other_and_of_no_threads() -> None:
    pictures = torch.randn(41, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    motion, threads = MotionCells(8), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(motion(pictures[:-1], pictures[1:]))
        found.append(
            torch.cat([motion(pictures[i : i + 1], pictures[i + 1 :][:1]) for i in range(40)])
        )
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, found[0]) for one in found)


def test_still_pictures_do_not_move() -> None:
    still = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert MotionCells(8)(still, still).abs().max() < 1e-4


def test_a_grid_has_cells() -> None:
    with pytest.raises(ConfigError, match="2 cells"):
        MotionCells(1)
