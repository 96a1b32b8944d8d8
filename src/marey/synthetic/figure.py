"""A human figure in three dimensions: from poses to joints, and from an action to a motion.

Axes: x forward, y up, z to the figure's right; the floor is y = 0; unit: the leg.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.interpolate import PchipInterpolator

from marey.synthetic.actions import ANGLES, PARAMETERS, Action
from marey.types import F64, I64, Bool

JOINTS = (
    *("pelvis", "waist", "neck", "head"),
    *("right_shoulder", "right_elbow", "right_wrist", "right_hip", "right_knee", "right_ankle"),
    *("left_shoulder", "left_elbow", "left_wrist", "left_hip", "left_knee", "left_ankle"),
    *("right_toe", "left_toe"),
)
"""Names of the joints, in the order of every `joints` array."""

ANKLE = 0.075
"""Height of an ankle over the sole."""


@dataclass(frozen=True)
class Body:
    """Proportions, in legs; widths are half widths, `girth` scales the thickness of everything."""

    thigh: float
    torso: float
    neck: float
    head: float
    upper_arm: float
    forearm: float
    shoulder: float
    hip: float
    foot: float
    girth: float


@dataclass(frozen=True)
class Skeleton:
    """Where a body is at every frame.

    joints: (T, J, 3), in the order of `JOINTS`.
    hips, chest, face: (T, 3, 3), axes of these parts: columns forward, up, right.
    """

    joints: F64
    hips: F64
    chest: F64
    face: F64

    def __getitem__(self, name: str) -> F64:
        return self.joints[:, JOINTS.index(name)]


@dataclass(frozen=True)
class Motion:
    """One performance of an action.  poses: (T, P).  boundaries: frames where a phase starts."""

    poses: F64
    boundaries: I64


def sample_body(rng: Generator) -> Body:
    """A random grown-up."""
    build = rng.normal(0, 1)
    return Body(
        thigh=rng.uniform(0.49, 0.53),
        torso=rng.uniform(0.58, 0.66),
        neck=rng.uniform(0.07, 0.1),
        head=rng.uniform(0.145, 0.17),
        upper_arm=rng.uniform(0.33, 0.37),
        forearm=rng.uniform(0.30, 0.335),
        shoulder=float(np.clip(0.215 + 0.018 * build + rng.normal(0, 0.01), 0.18, 0.26)),
        hip=rng.uniform(0.105, 0.13),
        foot=rng.uniform(0.2, 0.24),
        girth=float(np.clip(1 + 0.12 * build, 0.82, 1.3)),
    )


def sample_motion(rng: Generator, action: Action, fps: float, variety: float) -> Motion:
    """A performance: key poses of this person, at this person's pace, with idle time around.

    variety: 1 = the full range of manners, pauses and paces, 0 = none. Idle time always varies.
    """
    knots = action.knots()
    angle = np.isin(PARAMETERS, ANGLES)
    manner = variety * rng.normal(0, 4.0, len(angle)) * angle
    size = 1 + variety * rng.uniform(-0.1, 0.06)
    home = knots[0][0]
    knots = [home + (keys - home) * np.where(angle, size, 1) + manner for keys in knots]
    pace = 0.9 * 1.25 ** (variety * rng.uniform(-1, 1))
    usual = pace * sum(move.seconds for move in action.moves)
    before, after = 0.1 + usual * rng.uniform(0, 0.85, 2)  # what makes a clock useless
    seconds = [before]
    times, poses = [0.0, before], [knots[0][0], knots[0][0]]
    for move, keys in zip(action.moves, knots[1:], strict=True):
        length = pace * move.seconds * 1.3 ** (variety * float(np.clip(rng.normal(), -2, 2)))
        start = times[-1]
        for step, pose in enumerate(keys, 1):
            share = step / len(keys)
            if step < len(keys):
                share += variety * rng.uniform(-0.1, 0.1)
            times.append(start + length * share)
            poses.append(pose)
        if rng.random() < 0.15 * variety:  # a pause belongs to the phase that it ends
            length += (pause := rng.uniform(0.15, 0.5))
            times.append(times[-1] + pause)
            poses.append(poses[-1])
        seconds.append(length)
    times.append(times[-1] + after)
    poses.append(poses[-1])
    order = np.arange(1, len(seconds) + 1)  # at low rates, too, every phase has a frame
    starts = np.rint(np.cumsum(seconds) * fps).astype(np.int64)
    boundaries = np.maximum.accumulate(np.maximum(starts - order, 0)) + order
    total = max(round(times[-1] * fps), int(boundaries[-1]) + 1)
    clock = np.minimum(np.arange(total) / fps, times[-1])
    # monotone cubics stop where a parameter turns and glide through where it does not
    track = PchipInterpolator(times, np.stack(poses))(clock)
    return Motion(track + _sway(rng, clock, angle), boundaries)


def _sway(rng: Generator, clock: F64, angle: Bool) -> F64:
    """Nobody stands still: (T, P), slow waves of about one degree on every angle."""
    rate = rng.uniform(0.2, 0.9, (3, 1, len(angle)))
    start = rng.uniform(0, 2 * np.pi, rate.shape)
    waves: F64 = np.sin(2 * np.pi * rate * clock[:, None] + start).sum(0)
    return waves * angle * rng.uniform(0.4, 1.0)


def skeleton(poses: F64, body: Body) -> Skeleton:
    """Joints (T, J, 3) of a body in the given poses (T, P)."""
    p = dict(zip(PARAMETERS, poses.T, strict=True))
    hips = _turn("y", p["turn"])
    trunk = hips @ _turn("z", -p["lean"]) @ _turn("x", p["bend"])
    chest = trunk @ _turn("z", -p["curl"]) @ _turn("y", p["twist"])
    tilt = 0.65 * (p["lean"] + p["curl"]) + p["nod"]
    face = hips @ _turn("y", 0.6 * p["twist"]) @ _turn("z", -tilt)
    at: dict[str, F64] = {}

    feet = {
        "right": np.stack([p["rx"], p["ry"] + ANKLE, p["rz"]], 1),
        "left": np.stack([p["lx"], p["ly"] + ANKLE, p["lz"]], 1),
    }
    sides = {"right": 1.0, "left": -1.0}
    pelvis = np.stack([p["x"], p["y"] * 0.99 + ANKLE, p["z"]], 1)
    sockets = {side: hips @ np.array([0, 0, sign * body.hip]) for side, sign in sides.items()}
    for side, foot in feet.items():
        flat = np.linalg.norm((pelvis + sockets[side] - foot)[:, [0, 2]], axis=1)
        reachable = foot[:, 1] + np.sqrt(np.maximum(0.997**2 - flat**2, 0.01))
        pelvis[:, 1] = np.minimum(pelvis[:, 1], reachable)
    at["pelvis"] = pelvis
    at["waist"] = pelvis + trunk @ np.array([0, 0.45 * body.torso, 0])
    at["neck"] = at["waist"] + chest @ np.array([0, 0.55 * body.torso, 0])
    at["head"] = at["neck"] + face @ np.array([0.03, body.neck + 0.85 * body.head, 0])

    knees = hips @ _turn("z", -0.8 * p["lean"]) @ np.array([1.0, 0, 0]) + [0, 0.6, 0]
    for side, sign in sides.items():
        hip, foot = pelvis + sockets[side], feet[side]
        outward = hips @ np.array([0, 0, 0.25 * sign])
        at[f"{side}_hip"] = hip
        at[f"{side}_knee"], at[f"{side}_ankle"] = _two_bones(
            hip, foot, body.thigh, 1 - body.thigh, knees + outward
        )
        at[f"{side}_toe"] = _toe(
            at[f"{side}_knee"], at[f"{side}_ankle"], p["turn"], sign, body.foot
        )

    arm = body.upper_arm + body.forearm
    for side, sign, key in (("right", 1.0, "r"), ("left", -1.0, "l")):
        flex, out = np.radians(p[key + "f"]), np.radians(p[key + "a"])
        way = np.stack(
            [np.sin(flex) * np.cos(out), -np.cos(flex) * np.cos(out), sign * np.sin(out)], 1
        )
        shoulder = at["neck"] + chest @ np.array([0, -0.05, sign * body.shoulder])
        hand = shoulder + np.einsum("tij,tj->ti", chest, way) * arm * p[key + "r"][:, None]
        if side == "left":
            hand += p["grip"][:, None] * (at["right_wrist"] - hand)
        hand[:, 1] = np.maximum(hand[:, 1], 0.05 - p["hop"])
        elbows = chest @ np.array([-0.5, -0.5, 0.6 * sign])
        at[f"{side}_shoulder"] = shoulder
        at[f"{side}_elbow"], at[f"{side}_wrist"] = _two_bones(
            shoulder, hand, body.upper_arm, body.forearm, elbows
        )
    joints = np.stack([at[name] for name in JOINTS], 1)
    joints[..., 1] += p["hop"][:, None]
    return Skeleton(joints, hips, chest, face)


def _turn(axis: str, degrees: F64) -> F64:
    """Right-handed rotations about one axis, (T, 3, 3)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    out = np.tile(np.eye(3), (len(degrees), 1, 1))
    out[:, i, i], out[:, i, j], out[:, j, i], out[:, j, j] = c, -s, s, c
    return out


def _two_bones(root: F64, goal: F64, first: float, second: float, pole: F64) -> tuple[F64, F64]:
    """Middle and end joint of a limb from `root` that reaches for `goal` and bends to `pole`."""
    way = goal - root
    distance = np.linalg.norm(way, axis=1, keepdims=True)
    way /= np.maximum(distance, 1e-9)
    distance = np.clip(distance, abs(first - second) + 0.02, (first + second) * 0.999)
    along = (first**2 - second**2 + distance**2) / (2 * distance)
    side = pole - (pole * way).sum(1, keepdims=True) * way
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    middle = root + way * along + side * np.sqrt(np.maximum(first**2 - along**2, 0))
    return middle, root + way * distance


def _toe(knee: F64, ankle: F64, turn: F64, sign: float, length: float) -> F64:
    """Flat on the floor where the ankle is low, stretched from the shin where it is high."""
    yaw = np.radians(0.45 * turn - sign * 14)
    flat = np.stack([np.cos(yaw), np.zeros_like(yaw), -np.sin(yaw)], 1)
    shin = ankle - knee
    shin /= np.linalg.norm(shin, axis=1, keepdims=True)
    free = flat - (flat * shin).sum(1, keepdims=True) * shin + 0.6 * shin
    free /= np.linalg.norm(free, axis=1, keepdims=True)
    height = ankle[:, 1:2] - ANKLE
    lift = np.clip(height / 0.3, 0, 1)
    way = flat * (1 - lift) + free * lift
    toe: F64 = ankle + length * 0.75 * way / np.linalg.norm(way, axis=1, keepdims=True)
    toe[:, 1] = np.maximum(toe[:, 1] - ANKLE * 0.65 * (1 - lift[:, 0]), 0.03)
    return toe
