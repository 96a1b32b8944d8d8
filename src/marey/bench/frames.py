"""All recipes of frame embeddings on one labelled corpus, under one protocol.

Each is scored on whole videos, the published protocol, which a clock can answer, and on shifted
ones, which lost up to 35 % at either end. Beside them stand the clock and, for each encoder that
takes part, its frozen features and the network before training.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from marey.bench.cells import Bench, Cell, Values
from marey.bench.tables import Benched, Sheet, run
from marey.config import EncoderConfig, Recipe
from marey.data import LeftOut
from marey.embedding import Model
from marey.errors import ConfigError
from marey.evaluation.protocol import evaluate, labelled
from marey.evaluation.scores import LESS_IS_BETTER, PHASE_TITLES, caption
from marey.manifest import Entry, Manifest
from marey.recipes import named

RECIPES = ("carl", "rotary", "marey", "tcc", "tcn", "lav", "sal")

SHEETS = {"whole": False, "shifted": True}
"""Tables by their names, and whether their videos are shifted."""

STILL = ("clock", "frozen")
"""Baselines that do not depend on a seed."""


def bench_frames(
    labels: str | Path,
    out: str | Path,
    *,
    recipes: Sequence[str] = RECIPES,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int | None = None,
    size: int = 112,
    stride: int = 2,
    device_name: str = "auto",
    show: bool = False,
) -> Benched:
    """Trains recipes on the videos of a labelled corpus without their phases, and scores them.

    A stopped call goes on; a finished one returns at once. A run that fails is named in the
    result, and the others go on. Recipes and seeds share the features of a frozen backbone, those
    that are learned from and those that are scored.

    Args:
        labels: a table as of `evaluate`. Learned from are its videos with boundaries in the split
            "train", by one network for all actions.
        out: folder for runs, scores, cache, table.md and table.json.
        recipes: their names.
        steps: instead of each recipe's.
        size: side of a view in pixels, the same for all.
        stride: every how many frames are compared for Kendall's tau and AP@K.

    Raises ManifestError for a table that does not allow to learn and to score, ConfigError for a
    recipe that embeds clips or for an `out` that was made with other settings, StorageError.
    """
    labels, out = Path(labels), Path(out)
    chosen = {name: _fitted(name, steps, size) for name in recipes}
    known = Manifest(labelled(Manifest.read(labels))).select(split="train")
    videos = Manifest(tuple(Entry(one.name, one.path, action=one.action) for one in known))

    floors = _floors(chosen)
    cells = []
    for seed in seeds:
        for name, floor in floors.items():
            recipe = replace(chosen[name], seed=seed)
            recipe = replace(recipe, data=replace(recipe.data, steps=0, epochs=0))
            still = floor.still if seed == seeds[0] else {}  # these know no seed
            score = _Score(labels, out, f"untrained-{name}-{seed}", floor.row, still, stride, show)
            cells.append(Cell(score.cell, recipe, (floor.row, *still.values()), score))
    for seed in seeds:
        for name, recipe in chosen.items():
            score = _Score(labels, out, f"{name}-{seed}", name, {}, stride, show)
            cells.append(Cell(score.cell, replace(recipe, seed=seed), (name,), score))

    rows = [f.still[kind] for kind in STILL for f in floors.values() if kind in f.still]
    rows += [floor.row for floor in floors.values()]
    sheets = [
        Sheet(
            name,
            f"{caption(shifted)}. Mean ± standard deviation (n - 1) over n seeds",
            PHASE_TITLES,
            [*rows, *chosen],
            LESS_IS_BETTER,
        )
        for name, shifted in SHEETS.items()
    ]
    command = ["marey", "bench", "frames", str(labels), "--out", str(out)]
    command += ["--recipes", *chosen, "--seeds", *map(str, seeds)]
    command += ["--steps", str(steps)] if steps is not None else []
    command += ["--size", str(size), "--stride", str(stride)]
    told = [name for name, recipe in chosen.items() if recipe.data.together > 1]
    notes = (
        f"Learned from the {len(videos)} labelled videos of the split `train` without their "
        "phases, one network for all actions; scored on the other splits per action, then "
        f"averaged. Views of {size} pixels. "
        + (f"Told which videos show one action: {', '.join(told)}." if told else "")
    )
    bench = Bench(out, labels, videos, cells, {"stride": stride}, device_name, show)
    return run(bench, sheets, shlex.join(command), notes)


def _fitted(name: str, steps: int | None, size: int) -> Recipe:
    recipe = named(name)
    if not isinstance(recipe.encoder, EncoderConfig):
        raise ConfigError(f"{name} embeds clips, not frames; give recipes of frames alone.")
    data = recipe.data if steps is None else replace(recipe.data, steps=steps, epochs=0)
    return replace(recipe, encoder=replace(recipe.encoder, size=size), data=data)


@dataclass(frozen=True)
class _Floor:
    """The rows of what a kind of encoder scores without training.

    row: of the untrained network.  still: of the baselines that do not depend on a seed.
    """

    row: str
    still: Mapping[str, str]


def _floors(recipes: Mapping[str, Recipe]) -> dict[str, _Floor]:
    """Of each encoder that takes part, by the first recipe that has it, what must be scored once:
    the frozen features where no encoder before it has the same, and the clock by the first."""
    floors: dict[str, _Floor] = {}
    encoders: list[EncoderConfig] = []
    taken = {*recipes, "clock"}

    def title(text: str, recipe: str) -> str:
        unique = f"{text} ({recipe})" if text in taken else text
        taken.add(unique)
        return unique

    for name, recipe in recipes.items():
        encoder = recipe.encoder
        assert isinstance(encoder, EncoderConfig)
        if encoder in encoders:
            continue
        still = {} if encoders else {"clock": "clock"}
        if not any(_looks(encoder) == _looks(other) for other in encoders):
            still["frozen"] = title(f"frozen, {_seen(encoder)}", name)
        row = title(f"untrained, {encoder.position} positions, {_seen(encoder)}", name)
        floors[name] = _Floor(row, still)
        encoders.append(encoder)
    return floors


def _seen(encoder: EncoderConfig) -> str:
    return f"{encoder.pool} pooling" + (" and motion" if encoder.motion else "")


def _looks(encoder: EncoderConfig) -> tuple[str | int, ...]:
    """What the features of a backbone depend on before it is trained."""
    return encoder.backbone, encoder.weights, encoder.pool, encoder.motion


@dataclass(frozen=True)
class _Score:
    """Scores a network on the labels.

    cell: of whose scores every action is kept beside.  row: of the network.  still: rows of the
    baselines to be scored too.
    """

    labels: Path
    out: Path
    cell: str
    row: str
    still: Mapping[str, str]
    stride: int
    show: bool

    def __call__(self, model: Model) -> tuple[Values, tuple[LeftOut, ...]]:
        scores = evaluate(
            model,
            self.labels,
            stride=self.stride,
            baselines=self.still,
            cache=self.out / "cache" / "labelled",
            show=self.show,
        )
        scores.write(self.out / "scores" / f"{self.cell}.csv")
        values = {
            name: {
                self.still.get(embedding, self.row): {
                    metric: scores.mean(embedding, shifted, metric) for metric in scores.metrics
                }
                for embedding in scores.embeddings
            }
            for name, shifted in SHEETS.items()
        }
        return values, scores.left_out
