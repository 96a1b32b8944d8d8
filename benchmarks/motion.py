"""Optical flow for the motion maps, and the maps, against TV-L1.

    python benchmarks/motion.py

TV-L1 needs opencv-contrib-python-headless, which does not live beside opencv-python-headless; in an
environment without it that row says so. `motion_agreement.py` measures what the speed costs.
"""

from __future__ import annotations

import cv2

import harness
from baselines.tvl1_flow import tvl1_flow
from marey.bench import speed_pictures
from marey.bench.speed_cases import Desk, Measured, Row
from marey.types import Frames

PAIRS = 4  # of TV-L1, a quarter of a second each


def cases(desk: Desk) -> Measured:
    for case in speed_pictures.motion(desk):
        if not isinstance(case.inputs, Frames):
            yield case
        elif hasattr(cv2, "optflow"):
            few = case.inputs.pixels[: PAIRS + 1]
            yield case.beside(
                "the usual way: TV-L1", lambda few=few: tvl1_flow(few), work=PAIRS, reach=100
            )
        else:
            yield case
            note = "not measured: OpenCV without contrib has no TV-L1"
            yield Row("motion", "flow against TV-L1, 320x240", "pairs/s", note=note)


if __name__ == "__main__":
    harness.main(__doc__, {"motion": cases})
