"""Where frames are told to the wrong phase: near a boundary, or because the boundary is elsewhere.

    python benchmarks/phase_errors.py RUN LABELS --cache CACHE

RUN is a run of frames over stored features, LABELS as for `marey eval`. Per action a logistic
regression tells frames to phases, fitted on the split `train`. A video counts as *moved* where its
most probable boundaries, all phases in their order, lie 8 frames or more from the labelled ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from long_videos import embedded, groups
from marey.datasets.labels import boundaries
from marey.embedding import Model
from marey.manifest import Manifest
from marey.types import F64, I64

FAR = 8
"""Frames; a third of a second at 25 frames/s."""


def run(folder: Path, labels: Path, cache: Path) -> dict[str, dict[str, float]]:
    """By action: accuracies, and where the errors of the scored videos are."""
    model = Model(folder)
    rows = {}
    for action, group in sorted(groups(model, Manifest.read(labels), cache, seed=0).items()):
        vectors = {split: [embedded(model, x) for x, _ in group[split]] for split in group}
        phases = {split: [y for _, y in group[split]] for split in group}
        together = {split: np.concatenate(vectors[split]) for split in group}
        truth = {split: np.concatenate(phases[split]) for split in group}
        probe = LogisticRegression(max_iter=2000).fit(together[True], truth[True])
        wrong = probe.predict(together[False]) != truth[False]
        away = np.concatenate([to_boundary(y) for y in phases[False]])
        off = [
            np.abs(boundaries_found(probe.predict_log_proba(x)) - boundaries(y)).max()
            for x, y in zip(vectors[False], phases[False], strict=True)
            if len(np.unique(y)) == len(probe.classes_)
        ]
        rows[action] = {
            "phases": len(probe.classes_),
            "accuracy, videos learned from": float(probe.score(together[True], truth[True])),
            "accuracy, others": float(1 - wrong.mean()),
            "of its errors, share 8 frames or more from any boundary": float(
                (away[wrong] >= FAR).mean()
            ),
            "share of videos that are moved": float(np.mean(np.greater_equal(off, FAR))),
        }
    return rows


def to_boundary(phases: I64) -> F64:
    """How many frames each frame is from the nearest boundary, counted from its edge."""
    middle = np.arange(len(phases))[:, None] + 0.5
    return np.abs(middle - boundaries(phases)).min(axis=1, initial=np.inf)


def boundaries_found(logs: F64) -> I64:
    """The most probable boundaries of (T, P) log probabilities, phases 0 to P - 1 in this order."""
    best = np.full(logs.shape, -np.inf)  # of all orders that are in phase p at frame t
    entered = np.zeros(logs.shape, bool)  # whether the best of them is new in p at t
    best[0, 0] = logs[0, 0]
    for t in range(1, len(logs)):
        before = np.concatenate(([-np.inf], best[t - 1, :-1]))
        entered[t] = before > best[t - 1]
        best[t] = np.maximum(before, best[t - 1]) + logs[t]
    starts, phase = [], logs.shape[1] - 1
    for t in range(len(logs) - 1, 0, -1):
        if entered[t, phase]:
            starts.append(t)
            phase -= 1
    return np.array(starts[::-1], np.int64)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="RUN")
    parser.add_argument("labels", type=Path, metavar="LABELS")
    parser.add_argument("--cache", type=Path, required=True)
    found = run(**vars(parser.parse_args()))
    names = list(next(iter(found.values())))
    print("| action | " + " | ".join(names) + " |")
    print("| --- |" + " ---: |" * len(names))
    mean = {name: float(np.mean([row[name] for row in found.values()])) for name in names}
    for action, row in {**found, "mean": mean}.items():
        print(f"| {action} | " + " | ".join(f"{row[name]:.3g}" for name in names) + " |")
