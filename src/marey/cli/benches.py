"""The command `marey bench`: one settings class for each bench."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional

from marey.cli.answers import Device, list_left_out, say
from marey.errors import TrainingError

if TYPE_CHECKING:
    from marey.bench.tables import Benched


@dataclass(frozen=True)
class MclAblation:
    """What each part of MCL adds to the embeddings of clips, at equal steps."""

    labels: Positional[Path]
    """Table with columns path, split, action."""
    out: Path
    """Folder for runs, scores, table.md and table.json."""
    recipe: str = "mcl"
    """A recipe of MCL."""
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int | None = None
    """Of every training, instead of the recipe's."""
    parts: bool = False
    """Also leave out each part of full MCL by itself."""
    device: Device = "auto"

    def run(self) -> None:
        from marey.bench.ablation import bench_mcl

        done = bench_mcl(
            self.labels,
            self.out,
            recipe=self.recipe,
            seeds=self.seeds,
            steps=self.steps,
            parts=self.parts,
            device_name=self.device,
            show=True,
        )
        _answer(done, self.out)


@dataclass(frozen=True)
class Frames:
    """Every recipe of frame embeddings, on whole and on shifted videos, beside the clock."""

    labels: Positional[Path]
    """Table with columns path, split, action, boundaries."""
    out: Path
    """Folder for runs, scores, table.md and table.json."""
    recipes: tuple[str, ...] = ("carl", "rotary", "marey", "tcc", "tcn", "lav", "sal")
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int | None = None
    """Of every training, instead of the recipes'."""
    size: int = 112
    """Side of a view in pixels, the same for all recipes."""
    stride: int = 2
    """Every how many frames are compared for Kendall's tau and AP@K."""
    device: Device = "auto"

    def run(self) -> None:
        from marey.bench.frames import bench_frames

        done = bench_frames(
            self.labels,
            self.out,
            recipes=self.recipes,
            seeds=self.seeds,
            steps=self.steps,
            size=self.size,
            stride=self.stride,
            device_name=self.device,
            show=True,
        )
        _answer(done, self.out)


@dataclass(frozen=True)
class Speed:
    """How fast this machine goes from file to answer, stage by stage, on rendered videos."""

    out: Path = Path("speed")
    """Folder for speed.md and speed.json."""
    only: tuple[str, ...] = ()
    """Stages, such as `decode backbone`; all of them by default."""
    quick: bool = False
    """Small and few, to see whether everything works; the numbers say little."""
    device: Device = "auto"

    def run(self) -> None:
        from rich.console import Console

        from marey.bench.speed import bench_speed

        done = bench_speed(
            self.out, only=self.only, quick=self.quick, device_name=self.device, show=True
        )
        done.show(Console(width=None if sys.stdout.isatty() else 160))
        say("; ".join(f"{name}: {value}" for name, value in done.facts.items()))
        say(f"{self.out / 'speed.md'}\n{self.out / 'speed.json'}")


@dataclass(frozen=True)
class Bench:
    """Compare trainings over seeds, a stopped one goes on; or measure speed. One table."""

    which: Annotated[
        Annotated[MclAblation, tyro.conf.subcommand("mcl-ablation")]
        | Annotated[Frames, tyro.conf.subcommand("frames")]
        | Annotated[Speed, tyro.conf.subcommand("speed")],
        tyro.conf.arg(name=""),
    ]

    def run(self) -> None:
        self.which.run()


def _answer(done: Benched, out: Path) -> None:
    from rich.console import Console

    done.show(Console(width=None if sys.stdout.isatty() else 160))
    say(done.notes)
    say(f"{out / 'table.md'}\n{out / 'table.json'}")
    list_left_out(done.left_out)
    list_left_out(done.failed, "runs have no scores")
    if done.failed:
        raise TrainingError(
            f"{len(done.failed)} runs of this bench failed, for the reasons above; the same "
            "command tries them again."
        )
