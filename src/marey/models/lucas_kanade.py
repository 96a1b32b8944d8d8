"""Optical flow as a part of the network: small, batched, on any device, and exported with it.

Lucas and Kanade, IJCAI 1981: within a window one vector explains the change of brightness best, in
least squares. A coarser level comes first (Bouguet, 2000) and finds what moves further than a
window. For the motion maps of MCL, which are computed once and never exported, `marey.flow` has
better and slower flow.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marey import device
from marey.errors import ConfigError

_LEVELS = 2
_WINDOW = 7  # pixels
_DAMPING = 1e-3  # grey values squared, of 0..1: where there is less to see, flow is drawn to rest
_STEP = 2.0  # pixels that a level may add
_ROOM = 4  # pixels across a cell
_CHUNK = 16  # pairs of pictures at once, on a CPU in each thread
_LUMA = (0.299 * 0.229, 0.587 * 0.224, 0.114 * 0.225)  # of pixels normalised as ImageNet's


def lucas_kanade(first: Tensor, second: Tensor) -> Tensor:
    """Flow from one grey picture to another: two (N, 1, H, W) in 0..1 to (N, 2, H, W) pixels.

    u points right, v down. At each level, coarse to fine, with I the first picture, J the second
    one pulled back by the flow so far, and sums over a window::

        flow += -(sum grad I grad I^T + damping)^-1 sum grad I (J - I)
    """
    pyramid = [(first, second)]
    for _ in range(_LEVELS - 1):
        pyramid.append((F.avg_pool2d(pyramid[-1][0], 2), F.avg_pool2d(pyramid[-1][1], 2)))
    flow = torch.zeros_like(pyramid[-1][0]).repeat(1, 2, 1, 1)
    for level, (a, b) in enumerate(reversed(pyramid)):
        if level:
            flow = 2 * F.interpolate(flow, size=a.shape[-2:], mode="bilinear")
            b = _pull(b, flow)
        dx, dy = _derivatives(a)
        xx, xy, yy = window_means(torch.cat((dx * dx, dx * dy, dy * dy), 1)).split(1, 1)
        xt, yt = window_means(torch.cat((dx * (b - a), dy * (b - a)), 1)).split(1, 1)
        xx, yy = xx + _DAMPING, yy + _DAMPING
        step = torch.cat((xy * yt - yy * xt, xy * xt - xx * yt), 1) / (xx * yy - xy * xy)
        flow = flow + step.clamp(-_STEP, _STEP)
    return flow


class MotionCells(nn.Module):
    """What moves against the camera, on a coarse grid: the flow between two pictures.

    The median vector is taken to be the camera's motion and subtracted. Values are hundredths of
    the picture's side per frame.

    Args:
        cells: along each side. Raises ConfigError for less than 2.
    """

    def __init__(self, cells: int) -> None:
        super().__init__()
        if cells < 2:
            raise ConfigError(f"a grid of motion needs at least 2 cells a side, not {cells}.")
        self.cells = cells

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two (N, 3, H, W) normalised pictures to (N, 2 * cells^2) float32: all u, then all v."""
        if first.device.type != "cpu" or torch.compiler.is_exporting():
            return self._cells((first, second))
        pairs = list(zip(first.split(_CHUNK), second.split(_CHUNK), strict=True))
        return torch.cat(device.side_by_side(self._cells, pairs))

    def _cells(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        side = _ROOM * self.cells
        with torch.autocast(pair[0].device.type, enabled=False):
            grey = [F.adaptive_avg_pool2d(_grey(picture.float()), side) for picture in pair]
            flow = lucas_kanade(*grey) * (100 / side)
            cells = F.avg_pool2d(flow, _ROOM).flatten(2)
            # the median, in operations that ONNX has
            camera = cells.sort(-1).values[..., cells.shape[-1] // 2]
            return (cells - camera[..., None]).flatten(1)


def _grey(pictures: Tensor) -> Tensor:
    red, green, blue = (
        share * colour for share, colour in zip(_LUMA, pictures.unbind(1), strict=True)
    )
    return (red + green + blue)[:, None]


def _derivatives(x: Tensor) -> tuple[Tensor, Tensor]:
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    across = wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]
    down = wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]
    return across / 2, down / 2


def window_means(x: Tensor) -> Tensor:
    """Means over the window around each pixel, as far as it lies in the picture.

    As products of matrices, one for each direction: six times as fast as pooling, at this size.
    """
    down, right = (_neighbours(side, x) for side in x.shape[-2:])
    return down @ x @ right.T


def _neighbours(side: int, like: Tensor) -> Tensor:
    """(side, side): row i takes the mean of the places at most half a window away from i."""
    places = torch.arange(side, device=like.device)
    near = (places[:, None] - places).abs() <= _WINDOW // 2
    return near.to(like.dtype) / near.sum(1, keepdim=True)


def _pull(x: Tensor, flow: Tensor) -> Tensor:
    """(N, 1, H, W), each pixel taken from where the flow (N, 2, H, W) leads; edges repeat."""
    height, width = x.shape[-2:]
    down = torch.arange(height, device=x.device, dtype=x.dtype)[:, None]
    right = torch.arange(width, device=x.device, dtype=x.dtype)
    at_x = (right + flow[:, 0]) * (2 / (width - 1)) - 1
    at_y = (down + flow[:, 1]) * (2 / (height - 1)) - 1
    where = torch.stack((at_x, at_y), -1)
    return F.grid_sample(x, where, padding_mode="border", align_corners=True)
