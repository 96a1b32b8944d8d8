"""A little world of videos with exact phases, rendered as real H.264 files."""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from marey.errors import ConfigError
from marey.files import replacing
from marey.progress import Advance, bar
from marey.synthetic.actions import ACTIONS
from marey.synthetic.figure import Body, Motion, sample_body, sample_motion, skeleton
from marey.synthetic.scene import Painter, project, sample_camera
from marey.types import F64, I64, U8
from marey.video_writer import write

SPLITS = ("train", "test")
FEW = 24  # videos that are rendered before further processes have started


@dataclass(frozen=True)
class Performance:
    """One rendered video.

    pixels: (T, H, W, 3) uint8.  boundaries: frames at which phases 1, 2, ... start.
    joints: (T, J, 2) pixels (x, y), in the order of `marey.synthetic.figure.JOINTS`.
    """

    action: str
    pixels: U8
    fps: float
    boundaries: I64
    joints: F64


@dataclass(frozen=True)
class _Task:
    """All that a video depends on."""

    path: Path
    split: str
    action: str
    number: int
    size: tuple[int, int]
    fps: tuple[int, ...]
    variety: float
    seed: int

    def rng(self) -> Generator:
        """Numbers of this video alone: adding videos to a world changes none that is there."""
        names = [SPLITS.index(self.split), list(ACTIONS).index(self.action)]
        return np.random.default_rng([self.seed, *names, self.number])


def sample_video(
    rng: Generator,
    action: str,
    *,
    size: tuple[int, int] = (160, 160),
    fps: Sequence[int] = (25, 30),
    variety: float = 1.0,
) -> Performance:
    """One performance of an action by a random person in a random place before a random camera.

    Args:
        size: (H, W) in pixels.  fps: the frame rates to choose from.
        variety: 1 = the full range of manners, paces and cameras, 0 = none.

    Raises ConfigError for an action that is not in `marey.synthetic.actions.ACTIONS`.
    """
    if action not in ACTIONS:
        raise ConfigError(f"There is no action {action!r}; there are {', '.join(ACTIONS)}.")
    rate, body, motion = _perform(rng, action, fps, variety)
    camera = sample_camera(rng, len(motion.poses), variety)
    joints, depth = project(skeleton(motion.poses, body), camera)
    painter = Painter(rng, size, body, camera, variety)
    pixels = np.stack([painter.paint(t, joints[t], depth[t]) for t in range(len(joints))])
    placed = np.einsum("tij,tkj->tki", camera.views[..., :2], joints) + camera.views[:, None, :, 2]
    if camera.mirrored:
        placed[..., 0] = 1 - placed[..., 0]
    return Performance(action, pixels, rate, motion.boundaries, placed * [size[1], size[0]])


def render_world(
    folder: str | Path,
    *,
    train: int = 14,
    test: int = 4,
    actions: Sequence[str] = tuple(ACTIONS),
    size: tuple[int, int] = (144, 144),
    fps: Sequence[int] = (25, 30),
    variety: float = 1.0,
    seed: int = 0,
    show: bool = False,
) -> Path:
    """Renders `train` and `test` videos of every action, and the table of their phases.

    Videos that are there already are kept: a stopped rendering goes on. The table appears when all
    are done. Returns the path of labels.csv (path, split, action, frames, boundaries, phases).
    Raises ConfigError for an unknown action, StorageError where it cannot be written.
    """
    unknown = sorted(set(actions) - set(ACTIONS))
    if unknown:
        raise ConfigError(f"There is no action {unknown[0]!r}; there are {', '.join(ACTIONS)}.")
    folder = Path(folder)
    tasks = [
        _Task(
            folder / split / action / f"{number:03d}.mp4",
            split,
            action,
            number,
            size,
            tuple(fps),
            variety,
            seed,
        )
        for split, count in zip(SPLITS, (train, test), strict=True)
        for action in actions
        for number in range(count)
    ]
    missing = [task for task in tasks if not task.path.exists()]
    with bar("Rendering videos", len(tasks), show) as advance:
        advance(len(tasks) - len(missing))
        _render_all(missing, advance)
    labels = folder / "labels.csv"
    with replacing(labels) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["path", "split", "action", "frames", "boundaries", "phases"])
        for task in tasks:
            _, _, motion = _perform(task.rng(), task.action, task.fps, task.variety)
            boundaries = " ".join(str(b) for b in motion.boundaries)
            names = " ".join(ACTIONS[task.action].phases)
            path = task.path.relative_to(folder).as_posix()
            row = [path, task.split, task.action, len(motion.poses), boundaries, names]
            out.writerow(row)
    return labels


def tiny_world(folder: str | Path, *, seed: int = 0) -> Path:
    """A world for tests: two actions, 20 little videos of some 40 frames, in seconds."""
    return render_world(
        folder,
        train=6,
        test=4,
        actions=("squat_press", "jumping_jack"),
        size=(64, 64),
        fps=(12,),
        variety=0.4,
        seed=seed,
    )


def _perform(
    rng: Generator, action: str, fps: Sequence[int], variety: float
) -> tuple[float, Body, Motion]:
    """Who, how and when: everything before the drawing, from the first of a video's numbers."""
    rate = float(rng.choice(fps))
    return rate, sample_body(rng), sample_motion(rng, ACTIONS[action], rate, variety)


def _render(task: _Task) -> None:
    video = sample_video(
        task.rng(), task.action, size=task.size, fps=task.fps, variety=task.variety
    )
    task.path.parent.mkdir(parents=True, exist_ok=True)
    write(task.path, video.pixels, video.fps)


def _render_all(tasks: Sequence[_Task], advance: Advance) -> None:
    """Some videos in this process, many in several."""
    cores = os.cpu_count() or 1
    if len(tasks) < FEW or cores == 1:
        for task in tasks:
            _render(task)
            advance()
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, mp_context=spawn) as pool:
        for done in as_completed([pool.submit(_render, task) for task in tasks]):
            done.result()
            advance()
