"""What each part of MCL adds to clip embeddings, at equal steps.

Rows add up: contrast without any look at motion; the same with clips and crops taken where things
move (Li et al., ICCV 2021, section 3.2); the same with the gradient aligned to motion (section
3.4); and all of MCL, with contrast within the video and the order of clips. Beside them stand
chance, a frozen picture network and the untrained network, as in `marey.evaluation.clips`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from marey.bench.cells import Bench, Cell, Values
from marey.bench.tables import Benched, Sheet, run
from marey.config import MclConfig, Recipe
from marey.data import LeftOut
from marey.embedding import Model
from marey.errors import ConfigError
from marey.evaluation.clips import TITLES, divide, evaluate_clips
from marey.manifest import Entry, Manifest
from marey.recipes import named

SAMPLING: dict[str, Any] = {"focus_time": 0.0, "focus_space": False}
ALIGNMENT: dict[str, Any] = {"spatiotemporal": 0.0, "spatial": 0.0, "temporal": 0.0}
OTHERS: dict[str, Any] = {"intra": 0.0, "order": 0.0}

LADDER: dict[str, tuple[str, dict[str, Any]]] = {
    "contrast": ("contrast alone", SAMPLING | ALIGNMENT | OTHERS),
    "sampling": ("+ motion-focused sampling", ALIGNMENT | OTHERS),
    "alignment": ("+ alignment", OTHERS),
    "full": ("full MCL", {}),
}
"""Rows by the name of their runs: title, and what is switched off."""

PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "no-time": ("full without focus in time", {"focus_time": 0.0}),
    "no-space": ("full without focus in space", {"focus_space": False}),
    "no-spatiotemporal": ("full without spatiotemporal alignment", {"spatiotemporal": 0.0}),
    "no-spatial": ("full without spatial alignment", {"spatial": 0.0}),
    "no-temporal": ("full without temporal alignment", {"temporal": 0.0}),
    "no-intra": ("full without contrast within the video", {"intra": 0.0}),
    "no-order": ("full without order of clips", {"order": 0.0}),
}

STILL = ("chance", "frozen")
"""Baselines that do not depend on a seed."""

SHEET = "clips"


def bench_mcl(
    labels: str | Path,
    out: str | Path,
    *,
    recipe: Recipe | str = "mcl",
    seeds: Sequence[int] = (0, 1, 2),
    steps: int | None = None,
    parts: bool = False,
    device_name: str = "auto",
    show: bool = False,
) -> Benched:
    """Trains MCL with more and more of its parts, without labels, and scores each.

    A stopped call goes on; a finished one returns at once. A run that fails is named in the
    result, and the others go on.

    Args:
        labels: a table as of `evaluate_clips`. Learned from are the videos of its split "train",
            or, where there is none and folds are scored, all of its videos.
        out: folder for runs, scores, cache, table.md and table.json.
        recipe: of MCL; its seed is replaced.
        steps: instead of the recipe's.
        parts: also leave out each part of full MCL by itself.

    Raises ManifestError for a table that does not allow to learn and to score, ConfigError for
    another method's recipe or for an `out` that was made with other settings, StorageError.
    """
    labels, out, base = Path(labels), Path(out), named(recipe)
    name = recipe if isinstance(recipe, str) else "RECIPE"
    if not isinstance(base.method, MclConfig):
        raise ConfigError(f"{name} is a recipe of {base.method.name}; give one of mcl.")
    if steps is not None:
        base = replace(base, data=replace(base.data, steps=steps, epochs=0))
    manifest = Manifest.read(labels)
    folds = len(divide([entry for entry in manifest if entry.action], ""))
    if folds == 1:
        videos, notes = manifest.select(split="train"), "the videos of the split `train`"
    else:
        videos, notes = manifest, f"all videos, also those that one of the {folds} folds scores,"
    # not even the actions are seen
    unlabelled = Manifest(tuple(Entry(entry.name, entry.path) for entry in videos))

    variants = {
        key: (row, changes)
        for key, (row, changes) in (LADDER | (PARTS if parts else {})).items()
        if key == "full" or replace(base.method, **changes) != base.method
    }
    cells = []
    for seed in seeds:
        untrained = replace(base, seed=seed, data=replace(base.data, steps=0, epochs=0))
        still = STILL if seed == seeds[0] else ()
        score = _Score(labels, "untrained", still, show)
        cells.append(Cell(f"untrained-{seed}", untrained, (*still, score.row), score))
    for seed in seeds:
        for key, (row, changes) in variants.items():
            taught = replace(base, seed=seed, method=replace(base.method, **changes))
            cells.append(Cell(f"{key}-{seed}", taught, (row,), _Score(labels, row, (), show)))

    command = ["marey", "bench", "mcl-ablation", str(labels), "--out", str(out), "--recipe", name]
    command += ["--seeds", *map(str, seeds)]
    command += ["--steps", str(steps)] if steps is not None else []
    command += ["--parts"] if parts else []
    titles = [row for row, _ in variants.values()]
    sheet = Sheet(
        SHEET,
        "Mean ± standard deviation (n - 1) over n seeds",
        TITLES,
        [*STILL, "untrained", *titles],
    )
    notes = (
        f"Trained without labels on {notes} ({len(unlabelled)}), with equal steps. Scored on "
        + (f"{folds} folds, one left out in turn." if folds > 1 else "the other splits.")
        + " SVM, linear, k-NN: accuracy; R@k: retrieval."
    )
    return run(
        Bench(out, labels, unlabelled, cells, device_name=device_name, show=show),
        [sheet],
        shlex.join(command),
        notes,
    )


@dataclass(frozen=True)
class _Score:
    """Scores a network on the labels, under the name of a row, and some baselines."""

    labels: Path
    row: str
    baselines: Sequence[str]
    show: bool

    def __call__(self, model: Model) -> tuple[Values, tuple[LeftOut, ...]]:
        scores = evaluate_clips(model, self.labels, baselines=self.baselines, show=self.show)
        rows = {
            name if name in self.baselines else self.row: {
                metric: scores.mean(name, metric) for metric in scores.metrics
            }
            for name in scores.embeddings
        }
        return {SHEET: rows}, scores.left_out
