"""Frames augmented per second: Marey against Pillow, the same draws.

python benchmarks/augment.py
"""

from __future__ import annotations

import torch

import harness
from baselines.pil_augment import augment_clip
from marey.bench import speed_pictures
from marey.bench.speed_cases import Desk, Measured


def cases(desk: Desk) -> Measured:
    for case in speed_pictures.augmentation(desk):
        clip, draws, size, few = case.inputs

        def pillow(clip=clip, draws=draws, size=size, few=few) -> None:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)  # as in a data worker, where this way usually runs
            for choice in draws:
                augment_clip(clip[:few], choice, size)  # its time per frame is that of any number
            torch.set_num_threads(threads)

        yield case.beside(
            "the usual way: Pillow, frame by frame",
            pillow,
            work=few * len(draws),
            reach=None if desk.quick else 10,
        )


if __name__ == "__main__":
    harness.main(__doc__, {"augment": cases})
