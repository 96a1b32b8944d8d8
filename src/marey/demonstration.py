"""The whole way in one command: videos, training, alignment, scores, report."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path

from marey import pictures
from marey.data import LeftOut
from marey.embedding import Model
from marey.errors import ManifestError
from marey.evaluation.protocol import evaluate
from marey.evaluation.scores import Scores
from marey.manifest import Entry, Manifest
from marey.pair import Pair, align
from marey.progress import console
from marey.recipes import RECIPES
from marey.report import write_report
from marey.synthetic.world import render_world
from marey.training import read_log, train

RECIPE = "demo"


@dataclass(frozen=True)
class Demonstrated:
    """What the demo made, the report first, and the videos it left out."""

    files: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]


def demo(
    out: str | Path,
    videos: str | Path | None = None,
    *,
    device_name: str = "auto",
    show: bool = False,
) -> Demonstrated:
    """Learns from videos without labels and shows, on two that it has not seen, what it learned.

    Args:
        out: folder for the world, the run, the aligned pair and the report.
        videos: one's own folder or table; None renders the little world of `marey.synthetic`,
            whose exact phases allow a score. The last two videos of one's own are not trained on.

    Raises ManifestError for fewer than four videos, and what `train` and `align` raise.
    """
    out, started = Path(out), time.monotonic()
    if videos is None:
        corpus = Manifest.read(render_world(out / "videos", show=show))
    else:
        corpus = Manifest.of(videos)
    seen, query, reference, stranger = _divide(corpus)
    trained = train(seen, out / "run", RECIPES[RECIPE](), device_name=device_name, show=show)
    model = Model(out / "run", device_name)

    pair = align(model, query.path, reference.path)
    odd: Pair | None = align(model, query.path, stranger.path) if stranger else None
    files = [out / name for name in ("pair.mp4", "pair.csv", "pair.json", "pair.png")]
    for path in files:
        pair.write(path, show=show and path.suffix == ".mp4")
    files.append(out / "frames.png")
    pictures.save(pair.strip_picture(), files[-1])

    scores: Scores | None = None
    left_out = trained.left_out
    if any(entry.boundaries for entry in corpus):
        scores = evaluate(model, corpus, show=show)
        left_out += tuple(one for one in scores.left_out if one not in left_out)
        files += [out / "scores.csv", out / "scores.md"]
        for path in files[-2:]:
            scores.write(path)
        if show:
            scores.show(console)
    minutes = (time.monotonic() - started) / 60
    facts = {
        "Run": str(trained.run),
        "Learned from": f"{len(seen)} videos without labels, {trained.steps} steps",
        "Time": f"{minutes:.1f} minutes in all, {trained.seconds / 60:.1f} of them training",
        "Machine": f"{platform.machine()}, {model.device}, Python {platform.python_version()}",
    }
    report = out / "report.html"
    write_report(
        report,
        title="What Marey saw",
        facts=facts,
        log=read_log(out / "run"),
        pair=pair,
        video=out / "pair.mp4",
        stranger=odd,
        scores=scores,
    )
    return Demonstrated((report, *files), left_out)


def _divide(corpus: Manifest) -> tuple[Manifest, Entry, Entry, Entry | None]:
    """Videos to learn from, two unseen ones of one action, and one of another if known."""
    unseen = [entry for entry in corpus if entry.split not in ("", "train")]
    for query in unseen:
        same = [e for e in unseen if e.action == query.action and e is not query]
        other = [e for e in unseen if e.action != query.action]
        if same:
            return corpus.select(split="train"), query, same[0], other[0] if other else None
    if len(corpus) < 4:
        raise ManifestError(
            f"There are {len(corpus)} videos; the demo needs 4: two to learn from, two to align."
        )
    entries = corpus.entries
    return Manifest(entries[:-2]), entries[-2], entries[-1], None
