"""The commands: their settings, and what they print."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from marey.cli.answers import Device, list_left_out, say
from marey.cli.benches import Bench
from marey.config import Recipe
from marey.datasets import DATASETS
from marey.reproduction.studies import STUDIES, find


@dataclass(frozen=True)
class Train:
    """Learn from unlabelled videos. The same command resumes a stopped run."""

    videos: Positional[tuple[Path, ...]]
    """Folders, videos, or tables with a column `path`."""
    out: Path
    """Run folder to make, or to resume."""
    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    device: Device = "auto"
    split: str = ""
    """Use only the videos of this split of a table."""
    cache: Path | None = None
    """Folder for the features of a frozen backbone, which several runs may share."""
    tensorboard: bool = False
    """Also write TensorBoard events (extra `tensorboard`)."""

    def run(self) -> None:
        from marey.manifest import Manifest
        from marey.training import train

        manifest = Manifest.of(self.videos)
        if self.split:
            manifest = manifest.select(split=self.split)
        done = train(
            manifest,
            self.out,
            self.recipe,
            cache=self.cache,
            device_name=self.device,
            tensorboard=self.tensorboard,
            show=True,
        )
        list_left_out(done.left_out)
        say(f"{done.run}: {done.steps} steps, loss {done.loss:.3f}, {done.seconds:.0f} s")


@dataclass(frozen=True)
class Embed:
    """Embed videos with a trained run into one Parquet table. A stopped command goes on."""

    run_folder: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    videos: Positional[tuple[Path, ...]]
    """Folders, videos, or tables with a column `path`."""
    out: Path
    """Parquet file to write."""
    device: Device = "auto"

    def run(self) -> None:
        from marey.embedding import Model, embed_to

        done = embed_to(self.out, Model(self.run_folder, self.device), self.videos, show=True)
        list_left_out(done.left_out)
        say(f"{done.path}: {done.rows} rows of {done.videos} videos")


@dataclass(frozen=True)
class Align:
    """Lay a video over another: for every moment of QUERY the same moment of REFERENCE."""

    run_folder: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    query: Positional[Path]
    reference: Positional[Path]
    out: tuple[Path, ...] = ()
    """Files to write: .mp4 side by side, .csv or .json of matched times, .png of the similarity."""
    matcher: Literal["dtw", "subsequence", "nearest"] = "dtw"
    """`dtw`: whole on whole. `subsequence`: a short QUERY inside a long REFERENCE. `nearest`: each
    frame on its own."""
    device: Device = "auto"

    def run(self) -> None:
        from marey.embedding import Model
        from marey.pair import align

        pair = align(
            Model(self.run_folder, self.device), self.query, self.reference, matcher=self.matcher
        )
        for path in self.out:
            pair.write(path, show=True)
        say(f"alignability {pair.alignability:.2f}, cost {pair.path.cost:.3f}")
        if not pair.belongs:
            say("These two videos do not seem to show the same action.")
        for path in self.out:
            say(f"{path}")


@dataclass(frozen=True)
class Search:
    """Find the moments of embedded videos that are most like one moment of a video."""

    archive: Annotated[Positional[Path], tyro.conf.arg(metavar="TABLE")]
    """Parquet file of `marey embed`."""
    query: Annotated[Positional[str], tyro.conf.arg(metavar="VIDEO")]
    """A video of the table by its name there, or, with --run, any video."""
    at: float
    """Second of that video."""
    run_folder: Annotated[Path | None, tyro.conf.arg(name="run", metavar="RUN")] = None
    """Run to embed VIDEO with, the one that made the table."""
    count: int = 10
    apart: float = 1.0
    """Seconds between two moments of one video, at least."""
    per_video: int | None = None
    """At most so many moments of one video."""
    out: tuple[Path, ...] = ()
    """Files to write: .csv or .json of the moments, .png of their frames."""
    videos: Path = Path()
    """Folder that the names in the table start from, for the .png."""
    device: Device = "auto"

    def run(self) -> None:
        from marey.moments import search

        query: Any = self.query
        if self.run_folder is not None:
            from marey.embedding import Model

            model = Model(self.run_folder, self.device)
            model.require_maker_of(self.archive)
            query = model.embed(self.query)
        found = search(
            self.archive,
            query,
            self.at,
            count=self.count,
            apart=self.apart,
            per_video=self.per_video,
        )
        for one in found.moments:
            say(f"{one.similarity:6.3f}  {one.start_seconds:9.2f} s  {one.video}")
        for path in self.out:
            found.write(path, videos=self.videos)
            say(f"{path}")


@dataclass(frozen=True)
class Eval:
    """Score a run on labelled videos, beside what knows nothing: clock or chance, no training."""

    run_folder: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    labels: Positional[Path]
    """Table with columns path, split, action and, for runs that embed frames, boundaries (or, as
    that of FineGym, elements)."""
    out: tuple[Path, ...] = ()
    """Files to write: .csv (every action or fold), .md or .html (means)."""
    stride: int = 2
    """Frames: every how many are compared for Kendall's tau and AP@K."""
    clips: int = 20
    """Clips: how many of a video are averaged."""
    folds: str = ""
    """Clips: leave out each value of this column in turn (by default of `split`, where no split is
    called `train`)."""
    device: Device = "auto"

    def run(self) -> None:
        from rich.console import Console

        from marey.datasets.labels import names_elements
        from marey.embedding import Model
        from marey.evaluation.clips import ClipScores, evaluate_clips
        from marey.evaluation.elements import evaluate_elements
        from marey.evaluation.protocol import evaluate
        from marey.evaluation.scores import Scores
        from marey.manifest import Manifest

        model = Model(self.run_folder, self.device)
        scores: Scores | ClipScores
        if model.method.embeds == "clip":
            scores = evaluate_clips(
                model, self.labels, clips=self.clips, folds=self.folds, show=True
            )
        elif names_elements(Manifest.read(self.labels)):
            scores = evaluate_elements(model, self.labels, show=True)
        else:
            scores = evaluate(model, self.labels, stride=self.stride, show=True)
        scores.show(Console(width=None if sys.stdout.isatty() else 120))
        for path in self.out:
            scores.write(path)
        list_left_out(scores.left_out)


@dataclass(frozen=True)
class Finetune:
    """Teach a run of clips the actions of labelled videos. The same command resumes."""

    run_folder: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    labels: Positional[Path]
    """Table with columns path, split, action; `train` is learned, other splits are scored."""
    out: Path
    """Run folder to make, or to resume."""
    epochs: int = 150
    lr: float = 0.01
    device: Device = "auto"

    def run(self) -> None:
        from marey.finetuning import finetune

        done = finetune(
            self.run_folder,
            self.labels,
            self.out,
            epochs=self.epochs,
            lr=self.lr,
            device_name=self.device,
            show=True,
        )
        list_left_out(done.left_out)
        say(f"{done.run}: {done.steps} steps, loss {done.loss:.3f}, {done.seconds:.0f} s")
        say(f"accuracy {done.accuracy:.3f} on {done.videos} videos (chance {done.chance:.3f})")


@dataclass(frozen=True)
class Export:
    """Write a run as one folder to share, with a model card; to and from the Hugging Face hub."""

    run_folder: Annotated[Positional[str], tyro.conf.arg(metavar="RUN")]
    """Run folder, hf://owner/repo (extra `hub`), or a checkpoint file of CARL's release."""
    out: Path
    """Folder to write."""
    format: Literal["folder", "torch", "onnx"] = "folder"
    """`folder`: a run folder for Marey. `torch`, `onnx`: programs that run without Marey."""
    scores: Path | None = None
    """Scores for the card: what `marey eval ... --out scores.md` wrote."""
    hub: str = ""
    """Also upload it to this repository, owner/name; a new one is private."""

    def run(self) -> None:
        from marey.exporting import export_run
        from marey.hub import push

        done = export_run(self.run_folder, self.out, format=self.format, scores=self.scores)
        say(f"{done.folder}: {done.megabytes:.1f} MB")
        if self.hub:
            push(done.folder, self.hub)
            say(f"hf://{self.hub}")


@dataclass(frozen=True)
class Motion:
    """Show what moves in a video, and the clips and crops that motion-led learning would take."""

    video: Positional[Path]
    out: Path
    """An .mp4 to write."""
    recipe: str = "mcl"
    """Recipe of a method that is led by motion."""
    seed: int = 0
    """Of the clips and crops drawn."""

    def run(self) -> None:
        from marey.motion_view import motion_film

        done = motion_film(self.video, self.out, self.recipe, seed=self.seed, show=True)
        say(f"{done.path}: {done.frames} frames")
        say(f"A training keeps {done.megabytes_a_minute:.2f} MB per minute of such video.")


@dataclass(frozen=True)
class Precompute:
    """Compute beforehand what trainings need of videos once: features, motion, frames."""

    videos: Positional[tuple[Path, ...]]
    """Folders, videos, or tables with a column `path`."""
    cache: Path
    """Folder to fill, for `marey train ... --cache`."""
    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    device: Device = "auto"

    def run(self) -> None:
        from marey.precomputation import precompute

        done = precompute(self.videos, self.cache, self.recipe, device_name=self.device, show=True)
        list_left_out(done.left_out)
        say(f"{done.cache}: {done.videos} videos")


@dataclass(frozen=True)
class Prepare:
    """Make a table of a public data set, and say what is missing, corrupt or unexpected in it.

    With the name of a recipe instead, `marey prepare RECIPE VIDEOS --cache FOLDER` computes
    beforehand what its trainings need of the videos: features, motion, frames.
    """

    name: Annotated[Positional[str], tyro.conf.arg(metavar="|".join(DATASETS))]
    root: Positional[Path]
    """Folder of the set, in the layout in which it is distributed."""
    out: Path
    """Table to write: .csv, .tsv or .parquet. Videos that must be made go into a folder beside."""
    split: int | None = None
    """Which official split (ucf101, hmdb51: 1 to 3; golfdb: 1 to 4)."""
    labels: Path | None = None
    """Folder of the key events (penn_action)."""
    classes: int | None = None
    """99 or 288 (finegym, carl)."""

    def run(self) -> None:
        from marey.datasets import prepare

        given = {"split": self.split, "labels": self.labels, "classes": self.classes}
        options = {option: value for option, value in given.items() if value is not None}
        done = prepare(self.name, self.root, self.out, show=True, **options)
        for kind in ("missing", "corrupt", "unexpected"):
            notes = getattr(done, kind)
            rows = [f"  {name}: {reason}" for name, reason in notes[:20]]
            if len(notes) > len(rows):
                rows.append(f"  ... and {len(notes) - len(rows)} more, all in {done.report}")
            if rows:
                print(f"{len(notes)} {kind}:", *rows, sep="\n", file=sys.stderr)
        counts = ", ".join(f"{count} {split}" for split, count in done.counts.items())
        say(f"{done.path}: {counts}")


@dataclass(frozen=True)
class Reproduce:
    """Repeat a paper's table, from the data set on. The same command resumes."""

    study: Annotated[Positional[str], tyro.conf.arg(metavar="|".join(STUDIES))]
    data: Path
    """Folder of the data set, in the layout in which it is distributed."""
    out: Path | None = None
    """Folder for everything that it makes, by default named as the study; the table is table.md
    and table.json in it."""
    seeds: tuple[int, ...] = (0,)
    weights: str = ""
    """File of the weights that the network starts from (or https://...#sha256=..., hf://...), or
    `random`."""
    set: tuple[str, ...] = ()
    """Settings other than the published ones, such as `data.epochs=3`; the table names them."""
    trained: Path | None = None
    """mcl-hmdb51: the --out of mcl-ucf101 or mcl-kinetics, whose networks are scored."""
    tuning_epochs: int = 150
    """Studies that fine-tune: for so many epochs; 0 = not at all."""
    device: Device = "auto"

    def run(self) -> None:
        from marey.reproduction.running import reproduce
        from marey.reproduction.settings import changed

        published = find(self.study).recipe
        done = reproduce(
            self.study,
            self.data,
            self.out or Path(self.study),
            seeds=self.seeds,
            weights=self.weights,
            recipe=changed(published(), self.set) if published and self.set else None,
            trained=self.trained,
            tuning_epochs=self.tuning_epochs,
            device_name=self.device,
            show=True,
        )
        list_left_out(done.left_out)
        say(done.markdown)


@dataclass(frozen=True)
class Doctor:
    """Show what is installed, which accelerator there is, and which fast paths are on."""

    def run(self) -> None:
        from marey.health import doctor

        for name, value in doctor().items():
            say(f"{name:<24} {value}")


@dataclass(frozen=True)
class Demo:
    """Render a little world of videos, learn it, align two unseen ones, score, write a report."""

    out: Path = Path("demo")
    """Folder for everything that it makes."""
    videos: Path | None = None
    """Use one's own folder of videos instead."""
    device: Device = "auto"

    def run(self) -> None:
        from marey.demonstration import demo

        done = demo(self.out, self.videos, device_name=self.device, show=True)
        list_left_out(done.left_out)
        for path in done.files:
            say(f"{path}")


COMMANDS: dict[str, type[Any]] = {
    "train": Train,
    "embed": Embed,
    "align": Align,
    "search": Search,
    "eval": Eval,
    "finetune": Finetune,
    "export": Export,
    "motion": Motion,
    "prepare": Prepare,
    "bench": Bench,
    "reproduce": Reproduce,
    "doctor": Doctor,
    "demo": Demo,
}
