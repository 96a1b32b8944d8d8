"""The published clip metrics of a run on a labelled corpus, never without their baselines.

The protocol of MCL (Li et al., ICCV 2021) on UCF101 and HMDB51: a video is one vector, the
backbone's features averaged over space, time and clips that lie evenly over the video, and an
action is read from it (`marey.evaluation.clip_metrics`). Beside the trained network stand *chance*,
which looks at nothing; a *frozen* picture network, EfficientNet-Lite0 as trained on ImageNet, on 8
whole frames of the run's size, whose mean and spread over time are the vector, and which knows
looks but no motion; and the *untrained* network, the run's own as it was before training.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marey.data import Corpus, LeftOut, decode_size, look, survey
from marey.embedding import Model, see
from marey.errors import ConfigError, ManifestError, VideoError
from marey.evaluation.clip_metrics import NEIGHBOURS, RANKS, chance, score_clips
from marey.evaluation.tables import Grid, Tabled, numbers
from marey.manifest import Entry, Manifest
from marey.methods import build
from marey.methods.base import Method, spread
from marey.models import backbone
from marey.progress import ahead, bar
from marey.types import F32, Bool
from marey.units import one_after_another

TITLES = {"svm": "SVM", "linear": "linear", "knn": f"{NEIGHBOURS}-NN"}
TITLES |= {f"r{k}": f"R@{k}" for k in RANKS}
"""Metrics by their short names in tables."""

BASELINES = ("chance", "frozen", "untrained")
FROZEN = "efficientnet_lite0"
FRAMES = 8  # that the frozen network looks at

Scorer = Callable[[F32, Sequence[str], F32, Sequence[str]], dict[str, float]]
"""From vectors and actions to learn from, and others to score, to metrics by name."""


@dataclass(frozen=True, slots=True)
class ClipRow:
    """The metrics of one embedding in one fold; the fold is "" where there is a single split."""

    embedding: str
    fold: str
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class ClipScores(Tabled):
    """Everything an evaluation of clips found.

    rows: embedding by embedding, of every fold.  protocol: what was learned from and what scored.
    """

    headline: ClassVar[tuple[str, ...]] = tuple(TITLES)

    rows: tuple[ClipRow, ...]
    protocol: str
    left_out: tuple[LeftOut, ...]
    run: str
    labels: str

    @property
    def embeddings(self) -> list[str]:
        """The embeddings scored, in their order; the baselines first."""
        return list(dict.fromkeys(row.embedding for row in self.rows))

    @property
    def metrics(self) -> list[str]:
        return [metric for metric in TITLES if all(metric in row.values for row in self.rows)]

    def mean(self, embedding: str, metric: str) -> float:
        """Mean of a metric over the folds."""
        found = [row.values[metric] for row in self.rows if row.embedding == embedding]
        return sum(found) / len(found) if found else math.nan

    def grids(self, metrics: Sequence[str]) -> list[Grid]:
        """One table, of the means over folds."""
        rows = [(name, [self.mean(name, m) for m in metrics]) for name in self.embeddings]
        return [Grid(self.protocol, [TITLES[m] for m in metrics], rows)]

    def csv(self) -> str:
        """All rows, one per embedding and fold, and their means."""
        text = io.StringIO()
        out = csv.writer(text, lineterminator="\n")
        out.writerow(["embedding", "fold", *self.metrics])
        for row in self.rows:
            if row.fold:
                values = [row.values[metric] for metric in self.metrics]
                out.writerow([row.embedding, row.fold, *numbers(values)])
        for name in self.embeddings:
            means = [self.mean(name, metric) for metric in self.metrics]
            out.writerow([name, "mean", *numbers(means)])
        return text.getvalue()


def evaluate_clips(
    run: str | Path | Model,
    labels: str | Path | Manifest,
    *,
    clips: int = 20,
    baselines: bool | Collection[str] = True,
    folds: str = "",
    splits: Sequence[str] = (),
    score: Scorer = score_clips,
    show: bool = False,
) -> ClipScores:
    """Scores a run of clip embeddings on a table of labelled videos.

    The table needs `path`, `action` and `split`. Classifiers and the gallery of the retrieval are
    the videos of the split "train", every other split is scored. Where there is no such split,
    each value of `split` is left out in turn and scored by the rest, and the metrics are means over
    these folds. Videos without an action are not used; those that cannot be decoded are left out
    and named in the result.

    Args:
        clips: how many of a video, at most.
        baselines: also score chance, frozen and untrained; or some of these.
        folds: the column whose values are left out in turn, also where there is a split "train".
        splits: instead, columns that are each read as `split` is, such as the three official
            splits of a data set; a video whose cell is empty is not used in that one.
        score: what is asked of the vectors, by default all of `score_clips`.

    Raises ManifestError where that leaves nothing to learn from or to score, ConfigError for a run
    that embeds frames.
    """
    model = run if isinstance(run, Model) else Model(run)
    method = model.method
    if method.embeds != "clip":
        raise ConfigError(f"{model.run} embeds frames, not clips; see `marey.evaluate`.")
    manifest = labels if isinstance(labels, Manifest) else Manifest.read(Path(labels))
    entries = [entry for entry in manifest if entry.action]
    divide(entries, folds, splits)  # complains before the work begins
    corpus = survey(Manifest(tuple(entries)), show)

    wanted = BASELINES if baselines is True else baselines or ()
    networks: dict[str, Method] = {}
    if "untrained" in wanted:
        fresh = replace(method.recipe, seed=method.recipe.seed + 1)
        networks["untrained"] = build(fresh).to(model.device).eval()
    networks[method.recipe.method.name] = method
    for network in networks.values():
        network.expect(clips * len(corpus))
    pictures = _Pictures(model.device, len(corpus)) if "frozen" in wanted else None
    found, left_out = _vectors(corpus, method, clips, networks, pictures, model.device, show)

    entries = [entry for entry, _ in found]
    actions = [entry.action for entry in entries]
    rows: list[ClipRow] = []
    divided = divide(entries, folds, splits)
    embeddings = list(found[0][1])
    with bar("Scoring", len(divided) * len(embeddings), show) as advance:
        for fold, (train, test) in divided.items():
            known = [a for a, is_train in zip(actions, train, strict=True) if is_train]
            asked = [a for a, is_test in zip(actions, test, strict=True) if is_test]
            if "chance" in wanted:
                rows.append(ClipRow("chance", fold, chance(known, asked)))
            for name in embeddings:
                vectors = np.stack([of[name] for _, of in found])
                values = score(vectors[train], known, vectors[test], asked)
                rows.append(ClipRow(name, fold, values))
                advance(note=name)
    protocol = _protocol(divided, folds, splits)
    return ClipScores(tuple(rows), protocol, tuple(left_out), str(model.run), str(labels))


Division = tuple[Bool, Bool]
"""Which videos are learned from, and which are scored."""


def divide(
    entries: Sequence[Entry], column: str = "", columns: Sequence[str] = ()
) -> dict[str, Division]:
    """The divisions of the videos by their names: folds, or the splits of these columns.

    column, columns: as `folds` and `splits` of `evaluate_clips`. Raises ManifestError where that
    cannot be.
    """

    def cells(name: str) -> NDArray[np.str_]:
        if name in ("", "split"):
            return np.array([entry.split for entry in entries], dtype=str)
        return np.array([entry.extra.get(name, "") for entry in entries], dtype=str)

    splits = cells("split")
    if columns:
        of = {name: cells(name) for name in columns}
        divided = {
            name: (of[name] == "train", (of[name] != "train") & (of[name] != "")) for name in of
        }
    elif not column and (splits == "train").any():
        divided = {"": (splits == "train", splits != "train")}
    else:
        values = cells(column)
        divided = {str(value): (values != value, values == value) for value in np.unique(values)}
    actions = np.array([entry.action for entry in entries], dtype=str)
    if not divided or any(
        not test.any() or len(np.unique(actions[train])) < 2 for train, test in divided.values()
    ):
        raise ManifestError(
            "The table must hold videos of at least two actions to learn from and others to score: "
            "in `split` the value `train` and another one, or several values of which each is left "
            f"out in turn (or such a column named by `folds`); it has {len(entries)} videos with "
            "an action."
        )
    return divided


def _protocol(divided: Mapping[str, Division], column: str, columns: Sequence[str]) -> str:
    train, test = next(iter(divided.values()))
    if columns:
        return f"Mean over {len(divided)} splits of {len(train)} videos: {', '.join(divided)}"
    if len(divided) > 1:
        return (
            f"Mean over {len(divided)} folds, in each of which one value of `{column or 'split'}` "
            f"is left out of {len(train)} videos and scored"
        )
    return f"Learned from {train.sum()} labelled videos, scored on {test.sum()} others"


class _Pictures:
    """The frozen picture network: frames to features, and these to the vector of a video."""

    def __init__(self, where: torch.device, videos: int) -> None:
        network = backbone.build(FROZEN).to(where).eval()
        self.last = len(network.stage_names) - 1
        self.trunk = backbone.trunk(network, "all", keep=(self.last,))
        self.trunk.expect(FRAMES * videos)

    def features(self, pixels: Tensor) -> Tensor:
        """(T, 1, 3, H, W) to (T, C)."""
        return self.trunk(pixels[:, 0])[self.last].mean((2, 3))

    @staticmethod
    def vector(features: Tensor) -> Tensor:
        """(T, C) to (2 C,): mean and spread over time."""
        return torch.cat([features.mean(0), features.std(0, correction=0)])


Found = tuple[Entry, dict[str, F32]]
"""A video and its vector by each embedding."""


def _vectors(
    corpus: Corpus,
    method: Method,
    clips: int,
    networks: Mapping[str, Method],
    pictures: _Pictures | None,
    where: torch.device,
    show: bool,
) -> tuple[list[Found], list[LeftOut]]:
    """The vectors of every video that can be read, each decoded once for all networks."""
    size, left_out = method.recipe.encoder.size, list(corpus.left_out)
    found: list[Found] = []
    with bar("Embedding labelled videos", len(corpus), show) as advance:
        decoded = ahead(_decode(corpus, method, clips), depth=1)
        for entry, seen in zip(corpus.entries, decoded, strict=True):
            advance(note=entry.name)
            if isinstance(seen, VideoError):
                left_out.append((entry.name, str(seen)))
                continue
            units, frames = seen
            vectors: dict[str, F32] = {}
            if pictures is not None:
                alone = one_after_another(len(frames), 1)
                features = see(pictures.features, frames, alone, size, "whole", where)
                vectors["frozen"] = pictures.vector(features).numpy()
            clip_by_clip, places = units.flatten(0, 1), one_after_another(*units.shape[:2])
            for name, network in networks.items():
                rows = see(network.features, clip_by_clip, places, size, method.crop, where)
                vectors[name] = rows.mean(0).numpy()
            found.append((entry, vectors))
    if not found:
        raise ManifestError(f"None of the {len(corpus)} videos can be read; {left_out[0][1]}")
    return found, left_out


def _decode(
    corpus: Corpus, method: Method, clips: int
) -> Iterator[tuple[Tensor, Tensor] | VideoError]:
    """Of each video its clips, (N, L, H, W, 3), and the frames for pictures, (T, H, W, 3)."""
    size = decode_size(method.recipe.encoder.size)
    for info in corpus.infos:
        wanted = [
            type(method).units(method.recipe, info.frames, clips),
            spread(info.frames, FRAMES),
        ]
        try:
            units, frames = look(info, wanted, size)
            yield units, frames
        except VideoError as error:
            yield error
