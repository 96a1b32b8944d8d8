"""Worlds on disk: seeded videos of all actions as H.264 files, with a table of exact phases.

In every video one figure performs one action. Looks, place, camera and pace are random and say
nothing about the action; idle time of random length before and after it makes the time in the
video a poor guess at the phase.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from zlib import crc32

import cv2
from numpy.random import Generator, default_rng

from marey import video
from marey.errors import ConfigError
from marey.files import write_json
from marey.manifest import Entry, Manifest
from marey.progress import bar
from marey.synthetic.actions import ACTIONS
from marey.synthetic.figure import Body, Motion, sample_body, sample_motion, skeleton
from marey.synthetic.film import film
from marey.types import F32, I64, U8

_EDITION = 1  # goes up whenever the same seed makes other frames


@dataclass(frozen=True)
class SyntheticVideo:
    """One video of the world and all that is known of it.

    pixels: (T, H, W, 3) uint8 RGB.  action: its name.  fps: frames per second.
    phases: names of the phases, "before" and "after" the action included.
    boundaries: (len(phases) - 1,) int64, increasing; the frames at which a new phase starts.
    joints: (T, J, 2) float32, x and y in pixels, in the order of `figure.JOINTS`.
    """

    pixels: U8
    action: str
    fps: float
    phases: tuple[str, ...]
    boundaries: I64
    joints: F32


@dataclass(frozen=True)
class _Style:
    """What all videos of a world share."""

    size: tuple[int, int]
    fps: tuple[float, ...]
    variety: float


@dataclass(frozen=True)
class _Job:
    path: Path
    split: str
    action: str
    seed: tuple[int, ...]
    style: _Style


def sample_video(
    rng: Generator,
    action: str,
    *,
    size: tuple[int, int] = (160, 160),
    fps: Sequence[float] = (25.0, 30.0),
    variety: float = 1.0,
) -> SyntheticVideo:
    """A random video of an action; the same generator state gives the same frames.

    action: one of `actions.ACTIONS`.  size: (H, W), even, at least 32.
    fps: rates to choose from.
    variety: 1 = the full range of manners, paces, pauses, views and clutter, 0 = hardly any.
    Raises ConfigError for an unknown action or a size that cannot be.
    """
    style = _checked([action], size, fps, variety)
    rate, body, motion = _perform(rng, action, style)
    pixels, joints = film(rng, skeleton(motion.poses, body), body, size, rate, variety)
    phases = ACTIONS[action].phases
    return SyntheticVideo(pixels, action, rate, phases, motion.boundaries, joints)


def render_world(
    folder: str | os.PathLike[str],
    *,
    videos: int = 120,
    actions: Sequence[str] = tuple(ACTIONS),
    size: tuple[int, int] = (160, 160),
    seed: int = 0,
    split: float = 0.25,
    fps: Sequence[float] = (25.0, 30.0),
    variety: float = 1.0,
    workers: int = -1,
    show: bool = False,
) -> Path:
    """Render a world into `train/<action>/000.mp4`, `test/<action>/000.mp4` ... and `labels.csv`.

    The table has the columns path, split, action, frames, boundaries and phases (their names); all
    videos of an action have the same phases. Rendering goes on where it was stopped: a video that
    is there is kept. A video depends on seed, split, action, number and style alone, so a world
    can also grow.

    videos: how many in all, spread evenly over the actions.  split: share of them for testing.
    size, fps, variety: as for `sample_video`.
    workers: processes, -1 = one per core; few videos are rendered in this process.
    show: draw a progress bar.
    Returns the path of labels.csv.
    Raises ConfigError for settings that cannot be, or where the folder holds another world;
    StorageError where it cannot be written.
    """
    style = _checked(actions, size, fps, variety)
    if videos < len(actions) or not 0 <= split <= 1:
        raise ConfigError(
            f"a world of {videos} videos, {split} of them for testing, cannot be made from "
            f"{len(actions)} actions; give at least one video per action and a share within 0..1."
        )
    folder = Path(folder)
    jobs = _jobs(folder, videos, actions, seed, split, style)
    _claim(folder, jobs, {"edition": _EDITION, "seed": seed, **asdict(style)})
    missing = [job for job in jobs if not job.path.is_file()]
    with bar("Rendering a world", len(missing), show and bool(missing)) as advance:
        _render_all(missing, workers, advance)
    labels = folder / "labels.csv"
    Manifest(tuple(_entry(job) for job in jobs)).write(labels)
    return labels


def tiny_world(folder: str | os.PathLike[str], seed: int = 0) -> Path:
    """A world for tests: 2 actions, 20 + 10 videos of 64 x 64 and about 40 frames.

    Returns the path of labels.csv; raises as `render_world` does.
    """
    return render_world(
        folder,
        videos=30,
        actions=("squat_press", "jumping_jack"),
        size=(64, 64),
        seed=seed,
        split=1 / 3,
        fps=(12.0, 15.0),
        variety=0.2,
        workers=1,
    )


def _checked(
    actions: Sequence[str], size: tuple[int, int], fps: Sequence[float], variety: float
) -> _Style:
    unknown = sorted(set(actions) - set(ACTIONS))
    if unknown or not actions or len(set(actions)) < len(actions):
        raise ConfigError(
            f"there is no action {unknown[0]}; choose from {', '.join(ACTIONS)}."
            if unknown
            else "name at least one action, and each of them once."
        )
    if min(size) < 32 or any(side % 2 for side in size):
        raise ConfigError(f"videos of {size} pixels cannot be; give even sides of 32 or more.")
    if not fps or min(fps) < 5 or not 0 <= variety <= 1:
        raise ConfigError(
            f"rates of {tuple(fps)} frames per second with a variety of {variety} cannot be; "
            "give rates of 5 or more and a variety within 0..1."
        )
    return _Style((size[0], size[1]), tuple(float(rate) for rate in fps), float(variety))


def _claim(folder: Path, jobs: Sequence[_Job], settings: dict[str, object]) -> None:
    """Note what the videos of a folder are, so that nothing else is taken for them later."""
    note = folder / "world.json"
    settings = json.loads(json.dumps(settings))
    try:
        held = json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        held = None
    if held == settings:
        return
    if held or any(job.path.exists() for job in jobs):
        raise ConfigError(f"{folder} holds a world of other settings; delete it or name another.")
    write_json(note, settings)


def _jobs(
    folder: Path, videos: int, actions: Sequence[str], seed: int, split: float, style: _Style
) -> list[_Job]:
    jobs = []
    for place, action in enumerate(actions):
        count = (videos + len(actions) - 1 - place) // len(actions)
        test = round(count * split)
        for name, number in (("train", count - test), ("test", test)):
            for i in range(number):
                key = (seed, crc32(f"{name}/{action}".encode()), i)
                path = folder / name / action / f"{i:03d}.mp4"
                jobs.append(_Job(path, name, action, key, style))
    return sorted(jobs, key=lambda job: job.split, reverse=True)


def _perform(rng: Generator, action: str, style: _Style) -> tuple[float, Body, Motion]:
    """Everything about a video but its looks, which is cheap."""
    rate = style.fps[int(rng.integers(len(style.fps)))]
    body = sample_body(rng)
    return rate, body, sample_motion(rng, ACTIONS[action], rate, style.variety)


def _entry(job: _Job) -> Entry:
    _, _, motion = _perform(default_rng(job.seed), job.action, job.style)
    return Entry(
        name=str(job.path),
        path=job.path,
        split=job.split,
        action=job.action,
        frames=len(motion.poses),
        boundaries=tuple(motion.boundaries.tolist()),
        extra={"phases": " ".join(ACTIONS[job.action].phases)},
    )


def _render(job: _Job) -> None:
    style = job.style
    made = sample_video(
        default_rng(job.seed), job.action, size=style.size, fps=style.fps, variety=style.variety
    )
    video.write(job.path, made.pixels, made.fps)


def _render_all(jobs: Sequence[_Job], workers: int, advance: Callable[..., None]) -> None:
    count = min(workers if workers > 0 else os.cpu_count() or 1, len(jobs) // 4)
    if count < 2:
        for job in jobs:
            _render(job)
            advance()
        return
    # spawned, not forked: the caller may have started threads
    with ProcessPoolExecutor(count, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        try:
            for done in as_completed([pool.submit(_render, job) for job in jobs]):
                done.result()
                advance()
        except BrokenProcessPool as error:
            raise ConfigError(
                "the processes that render videos ended early; in a script, call Marey under "
                '`if __name__ == "__main__":`, or set workers=1.'
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
