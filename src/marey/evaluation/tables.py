"""Results as tables, and the ways to look at them: terminal, Markdown, HTML, CSV."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from rich.console import Console
from rich.table import Table

from marey.errors import ConfigError
from marey.files import replacing

WIDE = 110  # columns of a terminal from which on all metrics fit


@dataclass(frozen=True, slots=True)
class Grid:
    """Named rows of numbers, one table.

    titles: of the columns.
    rows: name and numbers, nan where not known.
    less_is_better: titles of the columns in which the least is the best.
    spreads: of some rows, by their names, the spread of each number, nan where not known.
    """

    caption: str
    titles: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float]]]
    less_is_better: Collection[str] = ()
    spreads: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def best(self, column: int) -> float:
        """The best number of a column, nan where none is known."""
        known = [values[column] for _, values in self.rows if not math.isnan(values[column])]
        if not known:
            return math.nan
        return min(known) if self.titles[column] in self.less_is_better else max(known)

    def rich(self) -> Table:
        """For a terminal."""
        table = Table(title=self.caption, title_justify="left")
        table.add_column("embedding")
        for title in self.titles:
            table.add_column(title, justify="right")
        for name, cells in self._cells():
            table.add_row(name, *[f"[bold]{t}[/bold]" if best else t for t, best in cells])
        return table

    def markdown(self) -> str:
        lines = [["embedding", *self.titles], ["---", *["---:"] * len(self.titles)]]
        lines += [
            [name, *[f"**{t}**" if best else t for t, best in cells]]
            for name, cells in self._cells()
        ]
        rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{self.caption}\n\n{rows}\n"

    def html(self) -> str:
        head = "".join(f"<th>{title}</th>" for title in self.titles)
        body = []
        for name, cells in self._cells():
            row = "".join(
                f"<td class='best'>{t}</td>" if best else f"<td>{t}</td>" for t, best in cells
            )
            body.append(f"<tr><th>{name}</th>{row}</tr>")
        return (
            f"<table><caption>{self.caption}</caption>"
            f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        )

    def _cells(self) -> list[tuple[str, list[tuple[str, bool]]]]:
        """Of each row its name, and of each number its text and whether it is the best."""
        best = [_text(self.best(column)) for column in range(len(self.titles))]
        unknown = [math.nan] * len(best)
        return [
            (
                name,
                [
                    (_text(value, spread), _text(value) == top != "-")
                    for value, spread, top in zip(
                        values, self.spreads.get(name, unknown), best, strict=True
                    )
                ],
            )
            for name, values in self.rows
        ]


def _text(value: float, spread: float = math.nan) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if math.isnan(spread) else f"{value:.3f} ± {spread:.3f}"


class Tabled(ABC):
    """A result that one looks at as tables.

    headline: the metrics shown in a terminal that is too narrow for all.
    """

    headline: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def metrics(self) -> list[str]:
        """The names of all metrics, in their order."""

    @abstractmethod
    def grids(self, metrics: Sequence[str]) -> list[Grid]:
        """The tables of these metrics."""

    @abstractmethod
    def csv(self) -> str:
        """All numbers."""

    def show(self, console: Console) -> None:
        """Prints the tables; the headline of them where the terminal is narrow."""
        metrics = self.metrics
        if console.width < WIDE:
            metrics = [metric for metric in self.headline if metric in metrics]
        for grid in self.grids(metrics):
            console.print(grid.rich())

    def markdown(self) -> str:
        """The tables as Markdown, the best of a column in bold."""
        return "\n".join(grid.markdown() for grid in self.grids(self.metrics))

    def html(self) -> str:
        """The tables as HTML."""
        return "\n".join(grid.html() for grid in self.grids(self.metrics))

    def write(self, path: Path) -> None:
        """Writes .csv, .md or .html, by the ending. Raises StorageError, and ConfigError for
        another ending."""
        kinds = {".csv": self.csv, ".md": self.markdown, ".html": self.html}
        if path.suffix not in kinds:
            raise ConfigError(f"{path}: give a name that ends in .csv, .md or .html.")
        with replacing(path) as draft:
            draft.write_text(kinds[path.suffix](), encoding="utf-8")


def numbers(values: Sequence[float]) -> list[str]:
    """Numbers as cells of a CSV table, empty where not known."""
    return ["" if math.isnan(value) else f"{value:.6f}" for value in values]
