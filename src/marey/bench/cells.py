"""A bench is made of cells, each trained and scored once and kept on the disk.

FOLDER/runs/NAME         the run folder of a cell
FOLDER/scores/NAME.json  what it scores, with the settings, versions and hardware of its time
FOLDER/cache/            what is computed of the videos once, for all cells; may be deleted
"""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from marey import __version__, device
from marey.config import Recipe, from_dict, to_dict
from marey.data import LeftOut
from marey.embedding import Model
from marey.errors import ConfigError, ManifestError, MareyError, StorageError
from marey.files import write_json
from marey.manifest import Manifest
from marey.progress import console
from marey.training import train

Values = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Of each table, of each of its rows, the metrics."""

Failure = tuple[str, str]
"""The name of a cell and the sentence that says why it has no scores."""


@dataclass(frozen=True)
class Cell:
    """One training and its scores.

    name: of its files, unique in the bench.
    rows: that it adds to the tables.
    score: what the trained network adds to the tables, and the videos left out.
    """

    name: str
    recipe: Recipe
    rows: Sequence[str]
    score: Callable[[Model], tuple[Values, tuple[LeftOut, ...]]]


@dataclass(frozen=True)
class Record:
    """What is kept of a finished cell.

    seed, steps: of the training.
    seconds: of the training ("train"; of its last stretch where it was stopped and went on) and of
        scoring ("score").
    facts: versions, commit and hardware.
    """

    name: str
    values: Values
    seed: int
    steps: int
    seconds: Mapping[str, float]
    left_out: tuple[LeftOut, ...]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Bench:
    """Cells that share their videos.

    folder: for runs, scores and cache.
    labels: the table that networks are scored on; videos: what they are trained on.
    protocol: settings of the scores.
    """

    folder: Path
    labels: Path
    videos: Manifest
    cells: Sequence[Cell]
    protocol: Mapping[str, Any] = field(default_factory=dict)
    device_name: str = "auto"
    show: bool = False

    def measure(self) -> Iterator[Record | Failure]:
        """Trains and scores the cells in turn, save those that are there already: these come first.

        Yields what each scores, or why it does not. Raises, before the first training, ConfigError
        for no cells or the same one twice, or where a cell was measured with other settings, and
        StorageError for a file that is damaged.
        """
        names = [cell.name for cell in self.cells]
        if not names or len(set(names)) < len(names):
            raise ConfigError("A bench needs at least one seed and one recipe, each of them once.")
        kept = {cell.name: record for cell in self.cells if (record := self._kept(cell))}
        yield from kept.values()
        for number, cell in enumerate(self.cells, 1):
            if cell.name in kept:
                continue
            if self.show:
                console.print(f"{number} of {len(self.cells)}: {cell.name}", markup=False)
            try:
                yield self._measure(cell)
            except MareyError as error:
                yield cell.name, str(error)

    def _measure(self, cell: Cell) -> Record:
        trained = train(
            self.videos,
            self.folder / "runs" / cell.name,
            cell.recipe,
            cache=self.folder / "cache",
            device_name=self.device_name,
            show=self.show,
        )
        started = time.monotonic()
        values, left_out = cell.score(Model(trained.run, self.device_name))
        record = Record(
            name=cell.name,
            values=values,
            seed=cell.recipe.seed,
            steps=trained.steps,
            seconds={
                "train": round(trained.seconds, 1),
                "score": round(time.monotonic() - started, 1),
            },
            left_out=tuple(dict.fromkeys([*trained.left_out, *left_out])),
            facts=facts(self.device_name),
        )
        plain = {"values": _each(values, _to_json), "settings": self._settings(cell)}
        data = vars(record) | plain
        del data["seed"]  # it is in the settings
        write_json(self._path(cell), data)
        return record

    def _kept(self, cell: Cell) -> Record | None:
        """What was measured before; None where that is nothing, or lacks a row that a bench of
        other recipes or seeds did not ask for."""
        path = self._path(cell)
        if not path.exists():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            settings = data.pop("settings")
            kept = Record(**data, seed=cell.recipe.seed)
            values = _each(kept.values, _from_json)
            left_out = tuple((name, reason) for name, reason in kept.left_out)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"{path} is damaged; delete it to measure it again.") from error
        try:  # what newer versions added since then had the value that is the default now
            settings["recipe"] = to_dict(from_dict(Recipe, settings["recipe"]))
            same = json.loads(json.dumps(settings)) == self._settings(cell)
        except (ConfigError, TypeError, KeyError):
            same = False
        if not same:
            raise ConfigError(
                f"{path} was measured with other settings or other labels; give another --out, or "
                f"delete {self.folder}."
            )
        if any(row not in rows for rows in values.values() for row in cell.rows):
            return None
        wanted = {table: {row: rows[row] for row in cell.rows} for table, rows in values.items()}
        return replace(kept, values=wanted, left_out=left_out)

    def _path(self, cell: Cell) -> Path:
        return self.folder / "scores" / f"{cell.name}.json"

    def _settings(self, cell: Cell) -> Any:
        """All that the scores depend on, save the videos themselves."""
        try:
            labels = hashlib.sha256(self.labels.read_bytes()).hexdigest()[:24]
        except OSError as error:
            raise ManifestError(f"{self.labels} cannot be read; name a table.") from error
        settings = {"recipe": to_dict(cell.recipe), "labels": labels, **self.protocol}
        return json.loads(json.dumps(settings))


def facts(device_name: str) -> dict[str, str]:
    """Versions, commit and hardware, as a table of numbers should name them."""
    found = {"marey": __version__, "commit": commit(), "torch": torch.__version__}
    return found | device.describe() | {"device": str(device.pick(device_name))}


def commit() -> str:
    """The commit of which this package is a checkout, with `-dirty` where it was changed since;
    "unknown" where it was installed."""
    package = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(package), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    try:
        # an environment with an installed Marey may lie in the checkout of something else
        if git("ls-files", "--error-unmatch", __file__):
            return git("describe", "--always", "--dirty", "--exclude", "*")
    except FileNotFoundError:
        pass  # there is no git on this machine
    return "unknown"


def _each(values: Any, change: Callable[[Any], Any]) -> Any:
    """The same tables with every number changed."""
    return {
        table: {
            row: {metric: change(value) for metric, value in metrics.items()}
            for row, metrics in rows.items()
        }
        for table, rows in values.items()
    }


def _to_json(value: float) -> float | None:
    return None if math.isnan(value) else value  # JSON has no nan


def _from_json(value: float | None) -> float:
    return math.nan if value is None else float(value)
