"""Frames per second through a frozen backbone, per backbone, size and precision.

python benchmarks/backbone.py
"""

from __future__ import annotations

import harness
from marey.bench import speed_pictures
from marey.bench.speed_cases import Desk, Measured


def cases(desk: Desk) -> Measured:
    yield from speed_pictures.backbone(desk)  # the usual way is PyTorch's own
    if desk.quick:
        yield speed_pictures.network(desk, "resnet18", 64)
    else:
        yield speed_pictures.network(desk, "vit_s16", 224, rounds=3)
        yield speed_pictures.network(desk, "resnet50", 224, rounds=3)


if __name__ == "__main__":
    harness.main(__doc__, {"backbone": cases})
