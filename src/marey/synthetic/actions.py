"""The repertoire of the demo world: every action as a few key poses of a human figure.

A pose is a set of numbers. Angles are in degrees, lengths in legs (hip to ankle = 1); forward is
the direction in which a standing figure looks.

    x, z, y        hips: forward, to the figure's right, height (1 = standing)
    hop            how high the whole body is off the floor
    lean, bend     trunk: forward, to its right      curl  chest against hips, forward
    turn, twist    hips against the floor, chest against the hips; positive = to the left
    nod            head, downwards
    rf, ra, rr     right hand seen from its shoulder: raised forward, raised outward (0 = hanging),
                   and how far it reaches (1 = arm straight);  lf, la, lr  the left one
    grip           1 = the left hand goes where the right hand is
    rx, ry, rz     right ankle: forward, off the floor, to the right;  lx, ly, lz  the left one

Hands that would go through the floor rest on it, and hips too high for the legs are lowered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from marey.types import F64

Pose = Mapping[str, float]


def _arms(flex: float, out: float, reach: float) -> dict[str, float]:
    return {"rf": flex, "ra": out, "rr": reach, "lf": flex, "la": out, "lr": reach}


def _feet(x: float, y: float, apart: float) -> dict[str, float]:
    return {"rx": x, "ry": y, "rz": apart, "lx": x, "ly": y, "lz": -apart}


PARAMETERS = (
    *("x", "z", "y", "hop", "lean", "bend", "curl", "turn", "twist", "nod", "grip"),
    *("rf", "ra", "rr", "lf", "la", "lr", "rx", "ry", "rz", "lx", "ly", "lz"),
)
STAND: Pose = dict.fromkeys(PARAMETERS, 0.0) | {
    "y": 1.0,
    "lean": 2.0,
    "rz": 0.15,
    "lz": -0.15,
    **_arms(6.0, 10.0, 0.96),
}
ANGLES = ("lean", "bend", "curl", "turn", "twist", "nod", "rf", "ra", "lf", "la")


@dataclass(frozen=True)
class Phase:
    """One movement of an action.

    name: what it is called.  seconds: how long it takes at normal speed.
    poses: the parameters that change, at evenly spaced times of the phase; the last is its end.
    """

    name: str
    seconds: float
    poses: tuple[Pose, ...]


@dataclass(frozen=True)
class Action:
    """A movement from a first key pose (what differs from `STAND`) through all its phases."""

    start: Pose
    moves: tuple[Phase, ...]

    @property
    def phases(self) -> tuple[str, ...]:
        """Names of the phases of every video of this action: idle before and after included."""
        return ("before", *(move.name for move in self.moves), "after")

    def knots(self) -> list[F64]:
        """First pose (1, P), then the key poses (K, P) of every phase, as `PARAMETERS` orders them.

        A parameter keeps its last value until a pose changes it.
        """
        pose = {**STAND, **self.start}
        rows = [np.array([list(pose.values())])]
        for move in self.moves:
            keys = []
            for change in move.poses:
                pose.update(change)
                keys.append(list(pose.values()))
            rows.append(np.array(keys))
        return rows


_RACK = _arms(38, 22, 0.42)
_SQUAT_REST = {"x": -0.1, "y": 0.45, "lean": 66, "curl": 22, "nod": -25}

ACTIONS: dict[str, Action] = {
    "tennis_serve": Action(
        start={"turn": -55, "rf": 48, "ra": -8, "rr": 0.8, "grip": 1, "rx": -0.2, "lx": 0.22},
        moves=(
            Phase(
                "toss",
                0.6,
                (
                    {"turn": -72, "grip": 0, "lf": 160, "la": 22, "lr": 1, "nod": -22}
                    | {"rf": -22, "ra": 62, "rr": 0.95, "lean": -4},
                ),
            ),
            Phase(
                "coil",
                0.45,
                (
                    {"y": 0.85, "lean": -12, "bend": 10, "rf": 20, "ra": 112, "rr": 0.5, "nod": -26}
                    | {"lf": 168},
                ),
            ),
            Phase(
                "strike",
                0.3,
                (
                    {"turn": -8, "y": 1, "hop": 0.14, "lean": 10, "bend": -12, "x": 0.12}
                    | {"rf": 166, "ra": 12, "rr": 1, "lf": 60, "la": 5, "lr": 0.5},
                ),
            ),
            Phase(
                "follow_through",
                0.45,
                (
                    {"turn": 22, "twist": 26, "hop": 0, "lean": 44, "bend": 0, "x": 0.34, "y": 0.9}
                    | {"rf": 32, "ra": -34, "rr": 0.98, "lf": 35, "la": 22, "lr": 0.6, "nod": -8}
                    | {"lx": 0.42, "rx": -0.25, "ry": 0.34},
                ),
            ),
        ),
    ),
    "sit_up": Action(
        start=_arms(172, 14, 0.98)
        | _feet(0.5, 0, 0.14)
        | {"x": -0.28, "y": 0.12, "lean": -88, "nod": -34},
        moves=(
            Phase("swing", 0.4, (_arms(80, 6, 0.98) | {"lean": -80, "curl": 18, "nod": -12},)),
            Phase("curl_up", 0.5, (_arms(78, 4, 0.98) | {"lean": -8, "curl": 26, "nod": 0},)),
            Phase("touch", 0.4, (_arms(92, 4, 1) | {"lean": 34, "curl": 30, "nod": 8},)),
            Phase(
                "lie_down",
                0.75,
                (
                    _arms(88, 6, 0.98) | {"lean": -38, "curl": 26, "nod": -4},
                    _arms(172, 14, 0.98) | {"lean": -88, "curl": 0, "nod": -34},
                ),
            ),
        ),
    ),
    "golf_swing": Action(
        start={"lean": 34, "y": 0.93, "x": -0.12, "rf": 42, "ra": -12, "rr": 0.95, "grip": 1}
        | {"nod": 14, **_feet(0, 0, 0.24)},
        moves=(
            Phase(
                "backswing",
                0.75,
                (
                    {"turn": -22, "twist": -30, "rf": 60, "ra": 8, "rr": 0.9},
                    {
                        "turn": -42,
                        "twist": -50,
                        "rf": 118,
                        "ra": 30,
                        "rr": 0.78,
                        "nod": 4,
                        "ly": 0.04,
                    },
                ),
            ),
            Phase(
                "downswing",
                0.3,
                ({"turn": 16, "twist": -4, "rf": 42, "ra": -8, "rr": 0.98, "nod": 16, "ly": 0},),
            ),
            Phase(
                "follow_through",
                0.5,
                (
                    {"turn": 45, "twist": 30, "lean": 20, "rf": 80, "ra": -25, "x": -0.06},
                    {"turn": 70, "twist": 48, "lean": 0, "rf": 128, "ra": -42, "rr": 0.8, "nod": 0}
                    | {"y": 1, "ry": 0.16, "rx": 0.06},
                ),
            ),
        ),
    ),
    "burpee": Action(
        start={},
        moves=(
            Phase("crouch", 0.5, (_SQUAT_REST | _arms(76, 4, 1),)),
            Phase(
                "kick_back",
                0.4,
                (
                    _feet(-0.5, 0.2, 0.15) | {"y": 0.62, "lean": 82},
                    _feet(-1.12, 0.06, 0.15)
                    | _arms(84, 4, 1)
                    | {"x": -0.2, "y": 0.5, "lean": 78, "curl": 0, "nod": -30},
                ),
            ),
            Phase(
                "jump_in",
                0.4,
                (
                    _feet(-0.5, 0.2, 0.15) | {"y": 0.62, "lean": 82},
                    _feet(0, 0, 0.15) | _SQUAT_REST | _arms(76, 4, 1),
                ),
            ),
            Phase(
                "leap",
                0.45,
                (
                    _arms(100, 10, 0.95) | {"x": 0, "y": 0.95, "lean": 12, "curl": 0, "nod": 0},
                    _arms(170, 16, 1) | {"y": 1, "hop": 0.24, "lean": -2},
                ),
            ),
            Phase("land", 0.45, (_arms(60, 30, 0.95) | {"hop": 0, "y": 0.86, "lean": 14}, STAND)),
        ),
    ),
    "pitch": Action(
        start=_arms(62, 0, 0.5) | {"turn": -60, "grip": 1, "lx": 0.15, "rx": -0.1},
        moves=(
            Phase(
                "wind_up",
                0.7,
                (
                    _arms(95, 0, 0.48)
                    | {"turn": -88, "lean": -6, "x": -0.08, "lx": 0.1, "ly": 0.72, "lz": 0.1},
                ),
            ),
            Phase(
                "stride",
                0.45,
                (
                    {"turn": -70, "grip": 0, "x": 0.4, "y": 0.84, "lx": 0.95, "ly": 0, "lz": -0.1}
                    | {"rf": 20, "ra": 108, "rr": 0.72, "lf": 10, "la": 92, "lr": 0.95, "bend": -8},
                ),
            ),
            Phase(
                "throw",
                0.28,
                (
                    {"turn": 8, "twist": 18, "lean": 26, "bend": -10, "x": 0.58, "y": 0.8}
                    | {"rf": 140, "ra": 20, "rr": 1, "lf": 30, "la": 30, "lr": 0.5, "ry": 0.1},
                ),
            ),
            Phase(
                "follow_through",
                0.4,
                (
                    {"turn": 22, "twist": 34, "lean": 54, "bend": 0, "x": 0.74, "nod": -25}
                    | {"rf": 42, "ra": -28, "rr": 0.98, "lf": -20, "la": 30}
                    | {"rx": 0.1, "ry": 0.26, "rz": 0.2},
                ),
            ),
        ),
    ),
    "jumping_jack": Action(
        start={},
        moves=(
            Phase("load", 0.35, (_arms(-28, 14, 0.9) | {"y": 0.8, "lean": 16},)),
            Phase(
                "open",
                0.45,
                (
                    _arms(4, 95, 0.95) | _feet(0, 0, 0.32) | {"y": 1, "hop": 0.16, "lean": 2},
                    _arms(0, 168, 0.98) | _feet(0, 0, 0.5) | {"hop": 0},
                ),
            ),
            Phase(
                "close",
                0.5,
                (
                    _arms(4, 95, 0.95) | _feet(0, 0, 0.32) | {"hop": 0.14},
                    _arms(6, 10, 0.96) | _feet(0, 0, 0.15) | {"hop": 0},
                ),
            ),
        ),
    ),
    "front_kick": Action(
        start={"turn": -28, "rf": 72, "ra": 8, "rr": 0.5, "lf": 84, "la": 2, "lr": 0.58}
        | {"y": 0.95, "rx": -0.3, "lx": 0.26},
        moves=(
            Phase(
                "chamber",
                0.45,
                ({"turn": -4, "x": 0.12, "y": 1, "lean": -6, "rx": 0.34, "ry": 0.62, "rz": 0.1},),
            ),
            Phase(
                "extend",
                0.25,
                (
                    {"turn": 10, "lean": -24, "x": 0.2, "rx": 1.1, "ry": 0.98}
                    | {"rf": 30, "rr": 0.7, "ra": 22},
                ),
            ),
            Phase(
                "retract",
                0.3,
                ({"turn": 2, "lean": -4, "rx": 0.46, "ry": 0.56, "rf": 72, "rr": 0.5, "ra": 8},),
            ),
            Phase(
                "plant",
                0.45,
                ({"turn": 28, "lean": 4, "x": 0.52, "y": 0.95, "rx": 0.78, "ry": 0, "rz": 0.15},),
            ),
        ),
    ),
    "squat_press": Action(
        start=_RACK | _feet(0, 0, 0.2),
        moves=(
            Phase("lower", 0.6, ({"x": -0.16, "y": 0.5, "lean": 36, "nod": -14},)),
            Phase("rise", 0.5, ({"x": 0, "y": 1, "lean": 2, "nod": 0},)),
            Phase("press", 0.45, (_arms(172, 14, 1) | {"nod": -12},)),
            Phase("return", 0.45, (_RACK | {"nod": 0},)),
        ),
    ),
}
"""All actions by name."""
