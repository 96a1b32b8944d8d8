"""Frames told to phases in short videos and in long ones, by how much the network sees at once.

    python benchmarks/long_videos.py RUN LABELS --cache CACHE

A long video is all labelled videos of one action and split in a row, as a recording of repetitions
would be. RUN is a run of frames with relative positions over stored features; LABELS as for
`marey eval`. Logistic regressions per action, fitted on the split `train`, scored on the rest.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from unittest.mock import patch

import numpy as np
import torch

from marey.data import survey
from marey.embedding import Model, vectors
from marey.evaluation.feature_store import FeatureStore
from marey.evaluation.frames import phase_classification
from marey.evaluation.protocol import labelled
from marey.manifest import Manifest
from marey.types import F32, I64

Group = dict[bool, list[tuple[torch.Tensor, I64]]]
"""Of one action, features and phases of the videos to learn from (True) and to score."""


def run(folder: Path, labels: Path, cache: Path, seed: int = 0) -> list[dict[str, float]]:
    """Accuracies with the whole video seen at once, and with windows of one to four contexts."""
    model = Model(folder)
    actions = list(groups(model, Manifest.read(labels), cache, seed).values())
    context = type(model.method).context(model.method.recipe)
    if context is None:
        raise SystemExit(f"{folder} sees whole videos; give a run with relative positions.")
    rows = []
    for seen in (context, 2 * context, 4 * context, 0):
        with patch.object(type(model.method), "context", lambda _, seen=seen: seen or None):
            rows.append(
                {
                    "rows seen at once": seen,
                    "each by itself": fmean(_alone(model, group) for group in actions),
                    "in a row": fmean(_in_a_row(model, group) for group in actions),
                    "in a row, learned from each by itself": fmean(
                        _in_a_row(model, group, learn_alone=True) for group in actions
                    ),
                }
            )
    frames = np.mean([sum(len(y) for _, y in group[False]) for group in actions])
    return [*rows, {"frames of a long video, mean": float(frames)}]


def groups(model: Model, manifest: Manifest, cache: Path, seed: int) -> dict[str, Group]:
    """By action, the labelled videos in a random order; only actions that both splits have."""
    store = FeatureStore(cache, model.method, model.device)
    corpus = survey(Manifest(labelled(manifest)), show=True)
    found: defaultdict[str, Group] = defaultdict(lambda: {True: [], False: []})
    for i in np.random.default_rng(seed).permutation(len(corpus)):
        entry, info = corpus.entries[i], corpus.infos[i]
        features = store.of(info).float()
        found[entry.action][entry.split == "train"].append((features, entry.phases(len(features))))
    return {name: group for name, group in found.items() if group[True] and group[False]}


def embedded(model: Model, features: torch.Tensor) -> F32:
    """(T, F) features of a video to (T, D) rows."""
    return vectors(model.method, features, np.arange(len(features)), model.device)


def _alone(model: Model, group: Group) -> float:
    train, val = ([embedded(model, x) for x, _ in group[split]] for split in (True, False))
    return _accuracy(train, val, group)


def _in_a_row(model: Model, group: Group, learn_alone: bool = False) -> float:
    def look(split: bool) -> list[F32]:
        features = [x for x, _ in group[split]]
        if split and learn_alone:
            return [embedded(model, x) for x in features]
        ends = np.cumsum([len(x) for x in features])[:-1]
        return np.split(embedded(model, torch.cat(features)), ends)

    return _accuracy(look(True), look(False), group)


def _accuracy(train: list[F32], val: list[F32], group: Group) -> float:
    phases = {split: [y for _, y in videos] for split, videos in group.items()}
    return phase_classification(train, phases[True], val, phases[False])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="RUN")
    parser.add_argument("labels", type=Path, metavar="LABELS")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(run(**vars(parser.parse_args())), indent=2))
