"""What the figure wears and how it is painted: rounded, shaded shapes, near ones over far ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from marey.synthetic.camera import Camera
from marey.synthetic.figure import Body, Skeleton
from marey.synthetic.palette import SHIFT, Colour, colour, mixed
from marey.types import F64, U8

_SKIN = ((255, 219, 190), (241, 194, 158), (214, 160, 118), (172, 117, 78), (124, 79, 52))
_HAIR = ((40, 30, 28), (84, 56, 38), (132, 88, 50), (214, 176, 108), (168, 74, 40), (170, 168, 166))
_RING = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_CIRCLE = np.stack([np.cos(_RING), np.sin(_RING)], 1)

# rim, lit body and shine of every shape: its size, and its shift towards the light, in radii
_RELIEF = ((1.0, 0.0), (0.78, 0.14), (0.3, 0.34))


@dataclass(frozen=True)
class Look:
    """Colours are RGB, 0..255.

    stripe: second colour of the shirt.  pattern: plain, stripes, halves or hem.
    sleeve, leg: how far down the limb they reach, 0..1.
    hair: its colour.  style: short, long, bun, tail, cap or bald.
    """

    skin: Colour
    shirt: Colour
    stripe: Colour
    pattern: str
    sleeve: float
    trousers: Colour
    leg: float
    shoes: Colour
    hair: Colour
    style: str


@dataclass(frozen=True)
class Part:
    """One piece of the figure: convex outlines (T, N, 2) with a colour each, and its nearness."""

    layers: tuple[tuple[F64, Colour], ...]
    nearness: F64


def sample_look(rng: Generator) -> Look:
    """Random clothes, skin and hair."""
    shirt = colour(rng, (0.35, 0.9), (0.55, 0.95))
    white = (240.0, 238.0, 232.0)
    stripe = white if rng.random() < 0.5 else colour(rng, (0.4, 0.9), (0.4, 0.95))
    dark = rng.random() < 0.6
    skin = _SKIN[rng.integers(len(_SKIN) - 1)], _SKIN[rng.integers(1, len(_SKIN))]
    return Look(
        skin=mixed(skin[0], skin[1], rng.random()),
        shirt=white if rng.random() < 0.12 else shirt,
        stripe=stripe,
        pattern=str(rng.choice(["plain", "plain", "stripes", "stripes", "halves", "hem"])),
        sleeve=float(rng.choice([0.25, 0.55, 0.6, 1.0, 2.0])),
        trousers=colour(rng, (0.2, 0.7), (0.2, 0.45) if dark else (0.5, 0.9)),
        leg=float(rng.choice([0.6, 0.9, 1.5, 2.0, 2.0])),
        shoes=white if rng.random() < 0.4 else colour(rng, (0.3, 0.9), (0.2, 0.9)),
        hair=_HAIR[rng.integers(len(_HAIR))],
        style=str(rng.choice(["short", "short", "long", "bun", "tail", "cap", "bald"])),
    )


class Painter:
    """All outlines of a figure in all frames, ready to be filled one frame at a time.

    light: (2,) direction in the picture from which the light falls.
    """

    def __init__(
        self, figure: Skeleton, body: Body, look: Look, camera: Camera, light: F64
    ) -> None:
        self._figure, self._body, self._camera = figure, body, camera
        self._light = light
        parts = [*self._limbs(look), *self._trunk(look), *self._head(look)]
        self._layers = [
            [(np.rint(points * 2**SHIFT).astype(np.int32), tone) for points, tone in part.layers]
            for part in parts
        ]
        self._order = np.argsort(np.stack([part.nearness for part in parts], 1), axis=1)

    def paint(self, picture: U8, frame: int) -> None:
        """Draw the figure of one frame into an RGB picture (H, W, 3)."""
        for number in self._order[frame]:
            for points, tone in self._layers[number]:
                cv2.fillConvexPoly(picture, cv2.convexHull(points[frame]), tone, cv2.LINE_AA, SHIFT)

    def _limbs(self, look: Look) -> Iterator[Part]:
        at, girth = self._figure, self._body.girth
        for side in ("right", "left"):
            shoulder, elbow, wrist = (at[f"{side}_{j}"] for j in ("shoulder", "elbow", "wrist"))
            hip, knee, ankle, toe = (at[f"{side}_{j}"] for j in ("hip", "knee", "ankle", "toe"))
            sleeve = look.stripe if look.pattern == "halves" else look.shirt
            arm = (0.062 * girth, 0.046 * girth, 0.034)
            yield from self._limb((shoulder, elbow, wrist), arm, look.skin, sleeve, look.sleeve)
            way = (wrist - elbow) / np.linalg.norm(wrist - elbow, axis=1, keepdims=True)
            ends = wrist + 0.02 * way, wrist + 0.07 * way
            yield self._rod(*ends, 0.044, 0.036, look.skin, closed=(False, True), nearer=0.01)
            leg = (0.096 * girth, 0.066 * girth, 0.045)
            yield from self._limb((hip, knee, ankle), leg, look.skin, look.trousers, look.leg)
            heel = ankle - 0.25 * (toe - ankle) + 0.04 * (ankle - knee)
            yield self._rod(heel, toe, 0.052, 0.042, look.shoes, nearer=0.015)

    def _limb(
        self,
        joints: tuple[F64, F64, F64],
        radii: tuple[float, float, float],
        skin: Colour,
        cloth: Colour,
        covered: float,
    ) -> Iterator[Part]:
        """Two bones, and cloth over the first `covered` of them (0..2), a little wider."""
        for bone in (0, 1):
            a, b, ra, rb = joints[bone], joints[bone + 1], radii[bone], radii[bone + 1]
            share = min(covered - bone, 1.0)
            near = (self._near(a) + self._near(b)) / 2
            if share < 1:
                yield self._rod(a, b, ra, rb, skin, closed=(False, bone == 1), near=near)
            if share > 0:
                end, rc = a + share * (b - a), ra + share * (rb - ra) + 0.013
                cuff = covered <= bone + 1
                ends = (False, cuff)
                yield self._rod(a, end, ra + 0.013, rc, cloth, closed=ends, near=near + 0.004)

    def _trunk(self, look: Look) -> Iterator[Part]:
        """Elliptic slices up the spine; a stripe fills the hull of two neighbours."""
        at, body = self._figure, self._body
        spine = [at["pelvis"], at["waist"], at["neck"]]
        girth, broad = body.girth, body.shoulder
        # height (0 pelvis, 1 waist, 2 neck), half width, half depth
        outline = np.array(
            [
                [-0.16, body.hip + 0.055 * girth, 0.09 * girth],
                [0.3, body.hip + 0.05 * girth, 0.1 * girth],
                [1.0, body.hip + 0.025 * girth, 0.088 * girth],
                [1.6, broad * 0.9, 0.11 * girth],
                [1.86, broad * 0.98, 0.085 * girth],
                [2.04, broad * 0.5, 0.06],
            ]
        )
        levels = np.array([-0.16, 0.3, 0.55, 0.8, 1.05, 1.3, 1.55, 1.8, 2.04])
        wide, deep = (np.interp(levels, outline[:, 0], outline[:, n]) for n in (1, 2))
        layers = []
        for shade, (size, shift) in enumerate(_RELIEF):
            rings = []
            for level, a, b in zip(levels, size * wide, size * deep, strict=True):
                low = min(max(int(level), 0), 1)
                centre = spine[low] + (level - low) * (spine[low + 1] - spine[low])
                axes = at.hips + (at.chest - at.hips) * np.clip(level / 1.6, 0, 1)
                ring = np.stack([b * _CIRCLE[:, 0], 0 * _RING, a * _CIRCLE[:, 1]], 1)
                rings.append(centre[:, None] + np.einsum("tij,nj->tni", axes, ring))
            flat, _, scale = self._camera.shoot(np.stack(rings, 1).reshape(len(rings[0]), -1, 3))
            flat += 0.1 * shift * scale[..., None] * self._light
            flat = flat.reshape(len(flat), len(rings), -1, 2)
            for step in range(len(rings) - 1):
                hull = flat[:, step : step + 2].reshape(len(flat), -1, 2)
                layers.append((hull, _tones(_shirt(look, step, len(rings) - 1))[shade]))
        yield Part(tuple(layers), self._near(spine[1]))
        neck = at["neck"] + 0.1 * (at["neck"] - at["head"])
        yield self._rod(neck, at["head"], 0.055, 0.055, look.skin, nearer=-0.02)

    def _head(self, look: Look) -> Iterator[Part]:
        at, r = self._figure, self._body.head
        face, middle, near = at.face, at["head"], self._near(at["head"])

        def spot(forward: float, up: float, right: float) -> F64:
            point: F64 = middle + r * (face @ np.array([forward, up, right]))
            return point

        def towards(point: F64) -> F64:
            side: F64 = np.sign(self._near(point) - near)
            return side

        crown, chin = spot(-0.04, 0.08, 0), spot(0.14, -0.38, 0)
        yield self._rod(crown, chin, 0.97 * r, 0.7 * r, look.skin, near=near)
        nose = spot(1.0, -0.16, 0)
        yield self._rod(
            nose, nose, 0.16 * r, 0.16 * r, look.skin, near=near + 0.001 * towards(nose)
        )
        for sign in (-1, 1):
            eye, ear = spot(0.86, 0.06, 0.4 * sign), spot(-0.08, -0.08, 0.94 * sign)
            shown = np.where(self._near(eye) - near > 0.2 * r, 0.002, -0.3)
            dot = self._rod(eye, eye, 0.095 * r, 0.095 * r, (10, 8, 14), near=near + shown)
            yield Part(dot.layers[:1], dot.nearness)
            tone = mixed(look.skin, (150, 60, 50), 0.2)
            yield self._rod(ear, ear, 0.19 * r, 0.19 * r, tone, near=near + 0.004 * towards(ear))
        if look.style == "bald":
            return
        tone = look.shirt if look.style == "cap" else look.hair
        dome = middle[:, None] + 1.09 * r * np.einsum("tij,nj->tni", face, _DOME)
        yield self._hull(dome, tone, near - 0.003)
        height = self._near(dome)
        front = dome[np.arange(len(dome)), height.argmax(1)][:, None]
        dome = np.where((height > near[:, None])[..., None], dome, front)
        yield self._hull(dome, tone, near + 0.003)
        back = near - 0.1 * towards(spot(1, 0, 0))
        if look.style == "cap":
            brim = spot(0.7, 0.42, 0), spot(1.5, 0.34, 0)
            ahead = near + 0.005 * towards(brim[1])
            yield self._rod(*brim, 0.3 * r, 0.22 * r, tone, near=ahead)
        if look.style == "long":
            lock = spot(-0.35, 0.1, 0), spot(-0.45, -0.95, 0)
            yield self._rod(*lock, 0.95 * r, 0.7 * r, tone, near=back)
        if look.style == "bun":
            bun = spot(-0.75, 0.85, 0)
            yield self._rod(bun, bun, 0.45 * r, 0.45 * r, tone, near=back)
        if look.style == "tail":
            yield self._rod(
                spot(-1.0, 0.4, 0), spot(-1.15, -0.6, 0), 0.3 * r, 0.2 * r, tone, near=back
            )

    def _near(self, point: F64) -> F64:
        nearness: F64 = self._camera.project(point)[1]
        return nearness

    def _rod(
        self,
        a: F64,
        b: F64,
        ra: float,
        rb: float,
        tone: Colour,
        *,
        closed: tuple[bool, bool] = (True, True),
        nearer: float = 0.0,
        near: F64 | None = None,
    ) -> Part:
        """A limb with round ends.

        closed: which ends have a dark rim; the other ends melt into what they touch.
        near: (T,) nearness, in place of that of its middle plus `nearer`.
        """
        points, nearness, scale = self._camera.shoot(np.stack([a, b], 1))
        radii = (scale * [ra, rb])[:, :, None, None]
        layers = []
        for (size, shift), shade in zip(_RELIEF, _tones(tone), strict=True):
            rim = np.where(closed, size, min(size, 0.8))[:, None, None]
            ends = points[:, :, None] + radii * (rim * _CIRCLE + shift * self._light)
            layers.append((ends.reshape(len(a), -1, 2), shade))
        return Part(tuple(layers), nearness.mean(1) + nearer if near is None else near)

    def _hull(self, points: F64, tone: Colour, near: F64) -> Part:
        """What a cloud of points (T, N, 3) covers."""
        flat, _, _ = self._camera.shoot(points)
        middle = flat.mean(1, keepdims=True)
        reach = np.abs(flat - middle).max((1, 2))[:, None, None]
        return Part(
            tuple(
                (middle + size * (flat - middle) + shift * reach * self._light, shade)
                for (size, shift), shade in zip(_RELIEF, _tones(tone), strict=True)
            ),
            near,
        )


def _tones(tone: Colour) -> tuple[Colour, Colour, Colour]:
    """Shaded edge, lit middle, shine."""
    return mixed(tone, (28, 18, 44), 0.36), tone, mixed(tone, (255, 250, 232), 0.16)


def _shirt(look: Look, step: int, steps: int) -> Colour:
    if step == 0:
        return look.trousers
    second = {
        "plain": False,
        "stripes": step % 2 == 0,
        "halves": step >= steps - 3,
        "hem": step == 1,
    }[look.pattern]
    return look.stripe if second else look.shirt


def _dome(low: float = 0.1) -> F64:
    """Points (N, 3) of a unit sphere above a plane that falls towards the back of the head."""
    up, ahead, right = np.array([[-0.62, 0.78, 0], [0.78, 0.62, 0], [0, 0, 1]])
    heights = np.array([low, 0.4, 0.7, 0.9])[:, None, None]
    ring = _CIRCLE[:, :1] * ahead + _CIRCLE[:, 1:] * right
    points: F64 = (heights * up + np.sqrt(1 - heights**2) * ring).reshape(-1, 3)
    return points


_DOME = _dome()
