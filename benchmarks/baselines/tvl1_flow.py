"""Motion maps as MCL's paper makes them: TV-L1 flow of whole frames, maps at 224 pixels."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from marey.motion import clip_scores, frame_maps

Array = np.ndarray[Any, Any]


def tvl1_flow(pixels: Array) -> Array:
    """(T, H, W, 3) uint8 RGB to flow (T - 1, 2, H, W), clipped to 20 pixels.

    Needs opencv-contrib-python-headless.
    """
    solver = cv2.optflow.DualTVL1OpticalFlow_create()
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in pixels]
    fields = [solver.calc(a, b, None) for a, b in pairwise(grey)]
    return np.clip(np.stack(fields), -20, 20).transpose(0, 3, 1, 2)


def tvl1_maps(flow: Array) -> tuple[Array, Array]:
    """Frame maps of flow resized to 224 pixels, and clip scores of the flow as it is."""
    resized = np.stack(
        [
            np.stack([cv2.resize(c, (224, 224), interpolation=cv2.INTER_CUBIC) for c in field])
            for field in flow
        ]
    )
    return frame_maps(resized), clip_scores(flow)
