"""A folder of 200 videos to a model, from start to end, and what that model is worth.

python benchmarks/folder.py
"""

from __future__ import annotations

from dataclasses import replace

import harness
from marey.bench.speed_cases import Desk, Measured, Row
from marey.evaluation.protocol import BASELINES, evaluate
from marey.evaluation.scores import TITLES, Scores
from marey.manifest import Manifest
from marey.recipes import DEFAULT, named
from marey.synthetic.world import render_world
from marey.training import train

LEARNED, SCORED = 200, 56
"""Videos of a folder, and unseen ones to score; both are spread evenly over all actions."""

REACH = 600.0
"""Seconds from start to end"""


def cases(desk: Desk) -> Measured:
    """One row: of decoding, features, compiling and training, with nothing at hand of earlier runs.

    The labels are for the scores alone.
    """
    learned, scored = (16, 16) if desk.quick else (LEARNED, SCORED)
    count = learned + scored
    labels = render_world(desk.folder / "world", videos=count, split=scored / count)
    corpus = Manifest.read(labels)
    recipe = named(DEFAULT)
    if desk.quick:
        recipe = replace(recipe, data=replace(recipe.data, steps=20, copies=2))
    seen = corpus.select(split="train")
    trained = train(seen, desk.folder / "run", recipe, device_name=str(desk.where))
    scores = evaluate(trained.run, corpus)
    yield Row(
        "folder",
        f"{len(seen)} videos, {sum(entry.frames or 0 for entry in seen):,} frames, to a model",
        "s",
        trained.seconds,
        limit=None if desk.quick else REACH,
        note="; ".join(
            worth(scores, metric) for metric in ("classification_100", "ap5", "error_dtw")
        ),
    )


def worth(scores: Scores, metric: str) -> str:
    """A metric on shifted videos, of the trained embedding and of those that learned nothing."""
    [ours] = [name for name in scores.embeddings if name not in BASELINES]
    beside = ", ".join(f"{name} {scores.mean(name, True, metric):.2f}" for name in BASELINES)
    return f"{TITLES[metric]} {scores.mean(ours, True, metric):.2f} ({beside})"


if __name__ == "__main__":
    harness.main(__doc__, {"folder": cases})
