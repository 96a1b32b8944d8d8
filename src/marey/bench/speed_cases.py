"""How speed is measured: ways of doing one thing, taking turns.

A machine is never alone, and never the same twice. So no time stands for itself: a row is the ratio
of two things measured in the same run, turn by turn, so that whatever else the machine does meets
both; and of each the median counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from marey import memory, video
from marey.manifest import Manifest
from marey.synthetic.world import render_world, sample_video

OURS = "marey"
"""The way of a case that the others are held against."""

USUAL = "the usual way"
"""How the names of ways begin that get memory as the C library gives it (`marey.memory`)"""

LEAST, MOST = 1.0, 100
"""Seconds that a case takes at least, with all its ways, and rounds that it takes at most for it"""


@dataclass(frozen=True)
class Way:
    """One way to do a thing.

    run: does it once.  work: how much of it that is, in the case's unit.
    reach: how many times as fast Marey should be; None where nothing is asked for.
    warm: whether it is run once before anything is timed; not where once takes too long.
    """

    run: Callable[[], object]
    work: float = 1.0
    reach: float | None = None
    warm: bool = True


@dataclass(frozen=True)
class Times:
    """Seconds of each call of a way; `first` of the one to warm up, nan where there was none."""

    first: float
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Case:
    """One thing to be measured, and the ways to do it, Marey's by the name `OURS`.

    unit: "frames/s" and the like, or "s" or "ms" for one unit of work.
    inputs: what the ways work on, for those that are added with `beside`.
    rounds: turns of each way, more where they are short (`take_turns`).
    note: what else there is to say, once it has run.
    limit: what Marey's own number is to reach, in the case's unit; None where nothing is asked for.
    """

    stage: str
    what: str
    unit: str
    ways: Mapping[str, Way]
    inputs: Any = None
    rounds: int = 5
    note: Callable[[Mapping[str, Times]], str] = field(default=lambda times: "")
    limit: float | None = None

    def beside(
        self,
        name: str,
        run: Callable[[], object],
        *,
        work: float | None = None,
        reach: float | None = None,
        warm: bool = True,
    ) -> Case:
        """The same with one more way; work: as Marey's where it is not given."""
        given = self.ways[OURS].work if work is None else work
        return replace(self, ways={**self.ways, name: Way(run, given, reach, warm)})


@dataclass(frozen=True)
class Row:
    """Marey's number beside another; nan where one could not be measured, and `note` says why.

    unit: of both; rates where it ends in "/s" (more is better), else time or memory.
    other: what the second number is of, "" where there is none.
    reach: the ratio asked for.  limit: what Marey's number is to reach.
    """

    stage: str
    what: str
    unit: str
    ours: float = math.nan
    other: str = ""
    theirs: float = math.nan
    reach: float | None = None
    note: str = ""
    limit: float | None = None

    @property
    def ratio(self) -> float:
        """How many times better Marey's number is than the other."""
        if not (self.ours and self.theirs):
            return math.nan
        return self.ours / self.theirs if self._rate else self.theirs / self.ours

    @property
    def reached(self) -> bool | None:
        """Whether all that is asked for is reached; None where nothing is, or nothing is known."""
        asked = []
        if self.reach is not None and not math.isnan(self.ratio):
            asked.append(self.ratio >= self.reach)
        if self.limit is not None and not math.isnan(self.ours):
            asked.append(self.ours >= self.limit if self._rate else self.ours <= self.limit)
        return all(asked) if asked else None

    @property
    def _rate(self) -> bool:
        return self.unit.endswith("/s")


def take_turns(
    ways: Mapping[str, Way], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Times]:
    """Runs every way once to warm up, then all of them in turn, `rounds` times.

    Short ones go on until they took `LEAST` seconds: where others have the processor for most of
    the time, only the median of many calls says something. At `MOST` rounds it ends.
    """

    def timed(name: str) -> float:
        with memory.returned() if name.startswith(USUAL) else nullcontext():
            start = clock()
            ways[name].run()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            taken = clock() - start
        if name.startswith(USUAL):
            for _ in range(2):  # not timed: they fetch the memory again that was given back
                ways[OURS].run()
        return taken

    first = {name: timed(name) if way.warm else math.nan for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    spent, done = 0.0, 0
    while done < rounds or (spent < LEAST and done < MOST):
        for name in ways:
            seconds[name].append(timed(name))
            spent += seconds[name][-1]
        done += 1
    return {name: Times(first[name], tuple(seconds[name])) for name in ways}


def measure(case: Case) -> list[Row]:
    """One row for every other way of a case; a single one where there is no other."""
    times = take_turns(case.ways, case.rounds)
    values = {
        name: _value(case.unit, median(times[name].seconds), way.work)
        for name, way in case.ways.items()
    }
    row = Row(case.stage, case.what, case.unit, values[OURS], limit=case.limit)
    others = [name for name in case.ways if name != OURS]
    rows = [
        replace(row, other=name, theirs=values[name], reach=case.ways[name].reach)
        for name in others
    ] or [row]
    return [replace(rows[0], note=case.note(times)), *rows[1:]]


def _value(unit: str, seconds: float, work: float) -> float:
    if unit.endswith("/s"):
        return work / seconds
    return seconds / work * {"s": 1.0, "ms": 1000.0}[unit]


Measured = Iterator[Case | Row]
"""What a stage yields: cases to be measured, and rows that it measured itself."""


@dataclass(frozen=True)
class Desk:
    """Where and how thoroughly to measure.

    folder: for videos and runs, made when they are needed.
    quick: small and few: whether everything works, and what is slow by far.
    """

    folder: Path
    where: torch.device
    quick: bool = False

    @property
    def rounds(self) -> int:
        return 3 if self.quick else 5

    def video(self, height: int, width: int, frames: int = 100) -> Path:
        """A rendered H.264 video of this size, 25 frames a second."""
        path = self.folder / f"{width}x{height}-{frames}.mp4"
        if not path.exists():
            rng = np.random.default_rng(0)
            scene = sample_video(rng, "squat_press", size=(height, width), fps=(25.0,))
            video.write(path, scene.pixels[np.arange(frames) % len(scene.pixels)], 25)
        return path

    def videos(self, count: int, height: int = 240, width: int = 320) -> Manifest:
        """So many rendered videos of two actions, 4 seconds or so each."""
        folder = self.folder / f"world-{count}-{height}"
        actions = ("squat_press", "jumping_jack")
        size = (height, width)
        labels = render_world(
            folder, videos=count, actions=actions, size=size, split=0, fps=(25.0,), workers=1
        )
        return Manifest.read(labels)
