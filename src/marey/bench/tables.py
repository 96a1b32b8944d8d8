"""The tables of a bench: mean and spread over seeds, and under which conditions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from marey.bench.cells import Bench, Failure, Record
from marey.data import LeftOut
from marey.evaluation.tables import Grid
from marey.files import replacing, write_json


@dataclass(frozen=True)
class Spread:
    """A number measured with several seeds; `sd` is the sample's (n - 1), nan for less than two.
    Where one of the seeds has no number, both are nan."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def sd(self) -> float:
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan


@dataclass(frozen=True)
class Sheet:
    """What a table shows: its metrics by their titles, its rows in their order."""

    name: str
    caption: str
    titles: Mapping[str, str]
    rows: Sequence[str]
    less_is_better: Sequence[str] = ()


@dataclass(frozen=True)
class Benched:
    """What a bench found. `failed` and `left_out` name cells and videos, and say why."""

    sheets: tuple[Sheet, ...]
    records: tuple[Record, ...]
    failed: tuple[Failure, ...]
    command: str
    notes: str

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return tuple(dict.fromkeys(one for r in self.records for one in r.left_out))

    def spread(self, sheet: str, row: str, metric: str) -> Spread:
        """A metric over all seeds that have it."""
        rows = [record.values.get(sheet, {}).get(row, {}) for record in self.records]
        return Spread(tuple(metrics[metric] for metrics in rows if metric in metrics))

    def grid(self, sheet: Sheet) -> Grid:
        rows, spreads = [], {}
        for row in sheet.rows:
            cells = [self.spread(sheet.name, row, metric) for metric in sheet.titles]
            count = max((len(cell.values) for cell in cells), default=0)
            name = f"{row} (n = {count})"
            rows.append((name, [cell.mean for cell in cells]))
            spreads[name] = [cell.sd for cell in cells]
        less = [sheet.titles[metric] for metric in sheet.less_is_better]
        return Grid(sheet.caption, list(sheet.titles.values()), rows, less, spreads)

    def show(self, console: Console) -> None:
        for sheet in self.sheets:
            console.print(self.grid(sheet).rich())

    def markdown(self) -> str:
        """The tables, how they came about, and what is missing."""
        parts = [f"```sh\n{self.command}\n```\n", f"{self.notes}\n"]
        parts += [self.grid(sheet).markdown() for sheet in self.sheets]
        parts.append(_conditions(self.records))
        for title, rows in (("Failed", self.failed), ("Videos left out", self.left_out)):
            if rows:
                lines = "\n".join(f"- {name}: {reason}" for name, reason in rows)
                parts.append(f"{title}:\n\n{lines}\n")
        return "\n".join(parts)

    def data(self) -> dict[str, Any]:
        """The same as JSON: every number of every cell, mean and spread, and the conditions."""
        tables = {
            sheet.name: {
                row: {
                    metric: _json(self.spread(sheet.name, row, metric)) for metric in sheet.titles
                }
                for row in sheet.rows
            }
            for sheet in self.sheets
        }
        runs = {
            r.name: {"seed": r.seed, "steps": r.steps, "seconds": r.seconds, "facts": r.facts}
            for r in self.records
        }
        return {
            "command": self.command,
            "notes": self.notes,
            "tables": tables,
            "runs": runs,
            "failed": self.failed,
            "left_out": self.left_out,
        }

    def write(self, folder: Path) -> None:
        """Writes table.md and table.json. Raises StorageError."""
        write_json(folder / "table.json", self.data())
        with replacing(folder / "table.md") as draft:
            draft.write_text(self.markdown(), encoding="utf-8")


def run(bench: Bench, sheets: Sequence[Sheet], command: str, notes: str) -> Benched:
    """Measures what is not there yet, and writes the tables after every cell.

    Raises as `Bench.measure` does.
    """
    found: dict[str, Record] = {}
    failed: list[Failure] = []

    def so_far() -> Benched:
        records = tuple(found[cell.name] for cell in bench.cells if cell.name in found)
        return Benched(tuple(sheets), records, tuple(failed), command, notes)

    for one in bench.measure():
        if isinstance(one, Record):
            found[one.name] = one
        else:
            failed.append(one)
        so_far().write(bench.folder)
    return so_far()


def _json(spread: Spread) -> dict[str, Any]:
    def plain(value: float) -> float | None:
        return None if math.isnan(value) else value  # JSON has no nan

    return {
        "mean": plain(spread.mean),
        "sd": plain(spread.sd),
        "n": len(spread.values),
        "values": [plain(value) for value in spread.values],
    }


def _conditions(records: Sequence[Record]) -> str:
    """Of each machine and version that took part, what it is and the runs that it made."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(json.dumps(record.facts), []).append(record)
    parts = []
    for facts, of in groups.items():
        about = "; ".join(f"{name}: {value}" for name, value in json.loads(facts).items())
        rows = [["run", "seed", "steps", "training, s", "scoring, s"], ["---", *["---:"] * 4]]
        rows += [
            [
                r.name,
                *(f"{n:.0f}" for n in (r.seed, r.steps, r.seconds["train"], r.seconds["score"])),
            ]
            for r in of
        ]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        parts.append(f"{about}.\n\n{table}\n")
    return "\n".join(parts)
