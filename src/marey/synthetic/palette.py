"""Colours, RGB within 0..255, as OpenCV takes them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

Colour = tuple[float, float, float]

SHIFT = 4
"""OpenCV draws anti-aliased shapes on a grid of 1 / 2**SHIFT pixels."""


def colour(rng: Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """Any hue."""
    return hsv(rng.random(), rng.uniform(*saturation), rng.uniform(*value))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB, 0..255, of a hue in turns and saturation and value in 0..1."""
    pixel = np.array([[[hue % 1 * 360, saturation, value]]], np.float32)
    r, g, b = (cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0] * 255).tolist()
    return r, g, b


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with a `share` of `other` in it."""
    r, g, b = (a + (c - a) * share for a, c in zip(one, other, strict=True))
    return r, g, b
