"""The published frame metrics of a run on a labelled corpus, never without their baselines.

Beside the trained embedding stand three that learned nothing: the *clock* t/n, which sees no
pixel; the *frozen* features of the backbone, pooled; and the *untrained* network, which is the
run's own with fresh weights behind the same backbone. Each is scored on the *whole* videos and on
*shifted* ones, which lost up to 35 % at either end, so that a clock is no help.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from marey.data import LeftOut, survey
from marey.datasets.labels import COLUMN, names_elements
from marey.embedding import Model, extract, vectors
from marey.errors import ConfigError, ManifestError, VideoError
from marey.evaluation import frames as metrics
from marey.evaluation.feature_store import FeatureStore
from marey.evaluation.scores import Row, Scores
from marey.manifest import Entry, Manifest
from marey.methods import build
from marey.methods.base import Method
from marey.progress import bar
from marey.types import F32, F64, I64, VideoInfo

FRACTIONS = (0.1, 0.5, 1.0)
NEIGHBOURS = (5, 10, 15)
BASELINES = ("clock", "frozen", "untrained")
SHIFT_SEED = 0
PAIRS = 200  # ordered pairs of videos per action, drawn with a seed, for the alignment error


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled video with the features of all its frames, and what is left when it is shifted.

    features: (N, F) of the run's backbone.  untaught: the same of the backbone before training,
    where that was trained and is asked for.
    """

    entry: Entry
    features: Tensor
    untaught: Tensor
    part: slice

    @property
    def train(self) -> bool:
        return self.entry.split == "train"


def evaluate(
    run: str | Path | Model,
    labels: str | Path | Manifest,
    *,
    stride: int = 2,
    baselines: bool | Collection[str] = True,
    cache: str | Path | None = None,
    show: bool = False,
) -> Scores:
    """Scores a run of frame embeddings on a table of labelled videos.

    The table needs `path`, `action`, `split` ("train" for the videos that probes are fitted on;
    every other split is scored) and `boundaries`. Videos without boundaries are not used; those
    that cannot be decoded are left out and named in the result. All numbers are per action, then
    averaged over actions; the network is one for all.

    Args:
        stride: every how many frames are compared for Kendall's tau and AP@K (paper: 2 on Penn
            Action, 5 on Pouring).
        baselines: also score clock, frozen and untrained; or some of these.
        cache: folder for the features of a frozen backbone, which the runs behind the same one
            share; by default they are not kept.

    Raises ManifestError where nothing is labelled, also where all labels are `elements`
    (`evaluate_elements`), ConfigError for a run that embeds clips, StorageError where `cache` has
    no room.
    """
    model = run if isinstance(run, Model) else Model(run)
    method, untrained = networks(model)
    manifest = labels if isinstance(labels, Manifest) else Manifest.read(Path(labels))
    wanted = BASELINES if baselines is True else baselines or ()
    store = None
    if cache and method.cacheable:
        store = FeatureStore(Path(cache), method, model.device)
    untaught = untrained if wanted and not method.cacheable else None
    videos, left_out = _look(manifest, method, untaught, store, model.device, show)
    embeddings = by_name(method, untrained, model.device, wanted)
    rows: list[Row] = []
    actions = sorted({video.entry.action for video in videos})
    with bar("Scoring", len(embeddings) * len(actions) * 2, show) as advance:
        for name, embed in embeddings.items():
            for shifted in (False, True):
                for action in actions:
                    group = [video for video in videos if video.entry.action == action]
                    rows.append(Row(name, shifted, action, _score(group, embed, shifted, stride)))
                    advance(note=f"{name}, {action}")
    return Scores(tuple(rows), tuple(left_out), str(model.run), str(labels))


Embedding = Callable[[Labelled, slice], F32]
"""From a part of a video to (N, D) rows, which see nothing of the other parts."""


def networks(model: Model) -> tuple[Method, Method]:
    """The run's network, and the same with fresh weights behind the backbone.

    Raises ConfigError for a run that embeds clips; CheckpointError where the backbone was trained
    and the weights that it started from are not there.
    """
    method = model.method
    if method.embeds != "frame":
        raise ConfigError(f"{model.run} embeds clips, not frames: its rows have no phases.")
    fresh = replace(method.recipe, seed=method.recipe.seed + 1)
    # over stored features it never looks at a picture; the backbone's file may be elsewhere
    untrained = build(fresh, pretrained=not method.cacheable)
    return method, untrained.to(model.device).eval()


def by_name(
    method: Method,
    untrained: Method,
    where: torch.device,
    baselines: Collection[str] = BASELINES,
) -> dict[str, Embedding]:
    """The embeddings that are scored; the baselines first."""

    def by(network: Method, kind: str) -> Embedding:
        def embed(video: Labelled, part: slice) -> F32:
            rows = getattr(video, kind)[part].float()
            # a part ends as a video does: its last row must not see the frame behind it
            units = type(network).units(network.recipe, len(rows))
            return vectors(network, rows[units[:, 0]], np.arange(len(rows)), where)

        return embed

    known = {"clock": _clock, "frozen": _frozen, "untrained": by(untrained, "untaught")}
    found: dict[str, Embedding] = {name: known[name] for name in BASELINES if name in baselines}
    return {**found, method.recipe.method.name: by(method, "features")}


def see_features(
    entry: Entry,
    info: VideoInfo,
    part: slice,
    method: Method,
    untaught: Method | None,
    where: torch.device,
    store: FeatureStore | None = None,
) -> Labelled:
    """A labelled video with its features. Raises VideoError where it cannot be decoded.

    untaught: the method before training, where its features are others and wanted.
    store: of features that were extracted before.
    """
    features = store.of(info) if store else extract(method, info, where).half()
    before = extract(untaught, info, where).half() if untaught else features
    return Labelled(entry, features, before, part)


def labelled(manifest: Manifest) -> tuple[Entry, ...]:
    """The videos that have phase labels.

    Raises ManifestError where they do not allow both to learn (split "train") and to score.
    """
    if names_elements(manifest):
        raise ManifestError(
            f"The table names {COLUMN} of frames, and no video has boundaries; score it with "
            "`marey eval` or `marey.evaluate_elements`."
        )
    entries = tuple(entry for entry in manifest if entry.boundaries is not None)
    splits = {entry.split == "train" for entry in entries}
    if splits != {True, False}:
        raise ManifestError(
            "The table must hold videos with boundaries both of the split `train` and of another "
            f"one to score; it has {len(entries)} videos with boundaries."
        )
    return entries


def _look(
    manifest: Manifest,
    method: Method,
    untaught: Method | None,
    store: FeatureStore | None,
    where: torch.device,
    show: bool,
) -> tuple[list[Labelled], list[LeftOut]]:
    """Features of every video that has phase labels, each decoded once."""
    entries = labelled(manifest)
    rng = np.random.default_rng(SHIFT_SEED)
    videos: list[Labelled] = []
    corpus = survey(Manifest(entries), show)
    left_out = list(corpus.left_out)
    method.expect(sum(i.frames for i in corpus.infos if store is None or not store.holds(i)))
    with bar("Embedding labelled videos", len(corpus), show) as advance:
        for entry, info in zip(corpus.entries, corpus.infos, strict=True):
            part = metrics.shift(info.frames, rng)
            try:
                entry.phases(info.frames)  # raises where a label lies behind the last frame
                videos.append(see_features(entry, info, part, method, untaught, where, store))
            except (VideoError, ManifestError) as error:
                left_out.append((entry.name, str(error)))
            advance(note=entry.name)
    if not videos:
        raise ManifestError(f"None of the {len(entries)} videos can be read; {left_out[0][1]}")
    return videos, left_out


def _clock(video: Labelled, part: slice) -> F32:
    frames = len(video.features[part])
    return np.linspace(0, 1, frames, endpoint=False, dtype=np.float32)[:, None]


def _frozen(video: Labelled, part: slice) -> F32:
    rows = video.untaught[part].float()
    return torch.nn.functional.normalize(rows, dim=1).numpy()


def _score(
    group: Sequence[Labelled],
    embed: Embedding,
    shifted: bool,
    stride: int,
) -> dict[str, float]:
    """All metrics of one embedding on the videos of one action; none where a split is empty."""

    def look(train: bool) -> tuple[list[F32], list[I64], list[F64]]:
        rows, phases, progress = [], [], []
        for video in group:
            if video.train == train:
                frames = len(video.features)
                part = video.part if shifted else slice(0, frames)
                rows.append(embed(video, part))
                phases.append(video.entry.phases(frames)[part])
                boundaries = video.entry.boundaries or ()
                progress.append(metrics.phase_progress(boundaries, frames)[part])
        return rows, phases, progress

    train, train_phases, _ = look(True)
    val, val_phases, val_progress = look(False)
    if not train or not val:
        return {}
    known = (train, train_phases, val, val_phases)
    found: dict[str, float] = {}
    for fraction in FRACTIONS:
        percent = round(100 * fraction)
        found[f"classification_{percent}"] = metrics.phase_classification(*known, fraction=fraction)
    found["progression"] = metrics.progression(*known)
    found["tau"] = metrics.kendalls_tau(val, stride=stride)
    for k in NEIGHBOURS:
        found[f"ap{k}"] = metrics.average_precision_at_k(val, val_phases, k, stride=stride)
    for matcher in ("nearest", "dtw"):
        found[f"error_{matcher}"] = metrics.alignment_error(
            val, val_progress, matcher=matcher, pairs=PAIRS
        )
    return found
