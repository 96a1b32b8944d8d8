"""What a network knows of time without seeing anything: the figure and tables of docs/clock.md.

    python benchmarks/clock.py --out docs/pictures/clock.svg

Renders a little world of videos, trims each to its action, and looks at CARL's network with
absolute and with relative positions: before training and after it, on frames and on noise. Takes
one to two minutes of one core. `--seed` makes another world with other networks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from torch import Tensor

from clock_figure import panels
from clock_world import (
    ACTIONS,
    POSITIONS,
    Look,
    Scale,
    Video,
    frames_of,
    make_world,
    noise_like,
    recipe,
    shuffled,
    train,
    views,
)
from marey.config import Recipe
from marey.evaluation import frames as metrics
from marey.files import replacing
from marey.losses.sequence import sequence_contrastive_loss
from marey.methods import build
from marey.methods.base import Method
from marey.types import F32, F64, I64

SHOWN, LATE = "golf_swing", 0.4  # the action of the figure, and the share that its video loses
LAST = 20  # steps over which a loss is averaged

Embedding = Callable[[Tensor], F32]
"""From the features (n, F) of a video to its rows (n, D)."""


def knows_nothing(settings: Recipe, videos: Sequence[Video], steps: int = 20) -> float:
    """The loss of embeddings that are all the same."""

    def nothing(video: Video, index: I64, rng: np.random.Generator) -> Tensor:
        return torch.zeros(len(index), 1)

    batches = [views(settings, videos, nothing, step) for step in range(steps)]
    ones = [torch.ones_like(batch.inputs) for batch in batches]
    pairs = zip(ones, batches, strict=True)
    return float(np.mean([float(sequence_contrastive_loss(o, b.index, b.valid)) for o, b in pairs]))


def embed(method: Method, features: Tensor) -> F32:
    """(n, F) features of a whole video to (n, D)."""
    with torch.inference_mode():
        rows: F32 = method.encode(features[None], torch.arange(len(features))[None])[0].numpy()
    return rows


def place_known(
    method: Method, train: Sequence[Video], test: Sequence[Video], look: Look, seed: int
) -> float:
    """R2, on unseen videos, of a linear probe of t/n in what the network makes of `look`."""
    rng = np.random.default_rng(seed)
    sides = []
    for videos in (train, test):
        rows = [embed(method, look(video, np.arange(len(video)), rng)) for video in videos]
        sides.append((np.concatenate(rows), np.concatenate([clock(len(v))[:, 0] for v in videos])))
    (x, y), (unseen, truth) = sides
    return float(r2_score(truth, Ridge(alpha=0.1).fit(x, y).predict(unseen)))


def clock(frames: int) -> F32:
    """(n, 1): t/n, what `marey.evaluate` calls clock."""
    return np.linspace(0, 1, frames, endpoint=False, dtype=np.float32)[:, None]


METRICS = ("cls 100%", "tau", "AP@5", "err NN", "err DTW")


def score(
    embedding: Embedding,
    train: Sequence[Video],
    test: Sequence[Video],
    shifted: bool,
) -> dict[str, float]:
    """Four frame metrics, per action and then averaged."""
    found: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for action in ACTIONS:
        sides = []
        for videos in (train, test):
            parts = [
                (video, video.part if shifted else slice(None))
                for video in videos
                if video.action == action
            ]
            rows = [embedding(video.features[0][part]) for video, part in parts]
            labels = [video.phases[part] for video, part in parts]
            sides.append((rows, labels, [video.progress[part] for video, part in parts]))
        (known, known_labels, _), (rows, labels, progress) = sides
        for metric, value in zip(
            METRICS,
            (
                metrics.phase_classification(known, known_labels, rows, labels),
                metrics.kendalls_tau(rows),
                metrics.average_precision_at_k(rows, labels, 5),
                metrics.alignment_error(rows, progress, matcher="nearest"),
                metrics.alignment_error(rows, progress, matcher="dtw"),
            ),
            strict=True,
        ):
            found[metric].append(value)
    return {metric: float(np.mean(values)) for metric, values in found.items()}


@dataclass(frozen=True)
class Measured:
    """Everything that the page says and the figure shows.

    losses: of the trainings, by (position, what is shown, T).  nothing: the loss of one who knows
        nothing, by T.
    places: (network, what is shown, R2 of t/n).
    scores: by embedding, on whole and on shifted videos.
    noise: by position, the untrained embeddings of two videos of noise.
    late: by embedding, those of a video that starts late and of a whole one.
    progress: of these two videos.  lost: frames that the first has lost.
    lengths: frames of the videos that are learned from.
    """

    losses: dict[tuple[str, str, int], F64]
    nothing: dict[int, float]
    places: list[tuple[str, str, float]]
    scores: dict[str, tuple[dict[str, float], dict[str, float]]]
    noise: dict[str, tuple[F32, F32]]
    late: dict[str, tuple[F32, F32]]
    progress: tuple[F64, F64]
    lost: int
    lengths: I64


def measure(scale: Scale, seed: int) -> Measured:
    """Does all of it. A function of the scale and the seed."""
    learn, test = make_world(scale, seed)
    noise = noise_like(learn)
    losses: dict[tuple[str, str, int], F64] = {}
    networks: dict[str, Method] = {}
    for position in POSITIONS:
        fresh = recipe(position, scale.long, scale.side, seed + 1)
        networks[f"untrained, {position}"] = build(fresh).eval()
    for frames in (scale.long, scale.short):
        for position in POSITIONS:
            settings = recipe(position, frames, scale.side, seed)
            for name, look in (("frames", frames_of), ("noise", noise)):
                method, curve = train(settings, learn, look, scale.steps)
                losses[position, name, frames] = curve
                networks[f"{position}, trained on {name}, T = {frames}"] = method
    nothing = {
        frames: knows_nothing(recipe("rotary", frames, scale.side, seed), learn)
        for frames in (scale.long, scale.short)
    }
    places = [
        (name, shown, place_known(method, learn, test, look, seed))
        for name, method in networks.items()
        for shown, look in (("noise", noise), ("shuffled frames", shuffled))
    ]

    def by(name: str) -> Embedding:
        return lambda features: embed(networks[name], features)

    embeddings: dict[str, Embedding] = {
        "clock": lambda features: clock(len(features)),
        "frozen": lambda features: F.normalize(features, dim=1).numpy(),
        "untrained, absolute": by("untrained, absolute"),
        "trained, absolute": by(f"absolute, trained on frames, T = {scale.long}"),
        "untrained, rotary": by("untrained, rotary"),
        "trained, rotary": by(f"rotary, trained on frames, T = {scale.long}"),
    }
    scores = {
        name: (score(one, learn, test, False), score(one, learn, test, True))
        for name, one in embeddings.items()
    }
    a, b = [video for video in test if video.action == SHOWN][:2]
    rng = np.random.default_rng(seed)
    looks = [noise(video, np.arange(len(video)), rng) for video in (a, b)]
    lost = round(LATE * len(a))
    return Measured(
        losses,
        nothing,
        places,
        scores,
        {p: pair(by(f"untrained, {p}"), looks[0], looks[1]) for p in POSITIONS},
        {name: pair(e, a.features[0][lost:], b.features[0]) for name, e in embeddings.items()},
        (a.progress[lost:], b.progress),
        lost,
        np.array([len(video) for video in learn]),
    )


def pair(embedding: Embedding, first: Tensor, second: Tensor) -> tuple[F32, F32]:
    return embedding(first), embedding(second)


def tables(found: Measured) -> str:
    """The tables of the page, as Markdown."""
    lines = [
        f"{len(found.lengths)} videos of {found.lengths.min()} to {found.lengths.max()} frames, "
        f"mean {found.lengths.mean():.0f}",
        "",
        "| positions | T | sees the videos | sees noise | knows nothing |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for frames, nothing in found.nothing.items():
        for position in POSITIONS:
            seen, unseen = (
                found.losses[position, shown, frames][-LAST:].mean()
                for shown in ("frames", "noise")
            )
            row = f"{seen:.2f} | {unseen:.2f} | {nothing:.2f}"
            lines.append(f"| {position} | {frames} | {row} |")
    lines += ["", "| network | noise | shuffled frames |", "| --- | ---: | ---: |"]
    known = {(name, shown): value for name, shown, value in found.places}
    for name in dict.fromkeys(name for name, _, _ in found.places):
        noise, frames = known[name, "noise"], known[name, "shuffled frames"]
        lines.append(f"| {name} | {noise:.2f} | {frames:.2f} |")
    for shifted in (False, True):
        lines += ["", f"| {'shifted' if shifted else 'whole'} | {' | '.join(METRICS)} |"]
        lines.append("| --- |" + " ---: |" * len(METRICS))
        for name, both in found.scores.items():
            values = " | ".join(f"{both[shifted][metric]:.3f}" for metric in METRICS)
            lines.append(f"| {name} | {values} |")
    return "\n".join(lines)


def picture(found: Measured) -> str:
    """The figure of the page, as SVG."""
    long = max(found.nothing)
    return panels(
        noise=found.noise,
        late={position: found.late[f"trained, {position}"] for position in POSITIONS},
        progress=found.progress,
        lost=found.lost,
        curves={(p, shown): v for (p, shown, T), v in found.losses.items() if long == T},
        nothing=found.nothing[long],
        scores={name: (a["AP@5"], b["AP@5"]) for name, (a, b) in found.scores.items()},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help=".svg to write")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    # one thread, so that the numbers do not depend on how many cores there are
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    found = measure(Scale(), given.seed)
    print(tables(found))
    if given.out:
        with replacing(given.out) as draft:
            draft.write_text(picture(found), encoding="utf-8")


if __name__ == "__main__":
    main()
