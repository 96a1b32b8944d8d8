"""A table of scores, and the ways to look at it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from marey.data import LeftOut
from marey.errors import ConfigError
from marey.files import replacing

TITLES = {
    "classification_10": "cls 10%",
    "classification_50": "cls 50%",
    "classification_100": "cls 100%",
    "progression": "progr.",
    "tau": "tau",
    "ap5": "AP@5",
    "ap10": "AP@10",
    "ap15": "AP@15",
    "error_nearest": "err NN",
    "error_dtw": "err DTW",
}
"""Metrics by their short names in tables. Errors are in phases, less is better."""

HEADLINE = ("classification_100", "progression", "tau", "ap5", "error_dtw")
WIDE = 110  # columns of a terminal from which on all metrics fit

LESS_IS_BETTER = ("error_nearest", "error_dtw")


@dataclass(frozen=True, slots=True)
class Row:
    """The metrics of one embedding on the videos of one action, whole or shifted."""

    embedding: str
    shifted: bool
    action: str
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class Scores:
    """Everything an evaluation found: per action in `rows`, the videos left out, and of what."""

    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]
    run: str
    labels: str

    @property
    def embeddings(self) -> list[str]:
        """The embeddings scored, in their order; the baselines first."""
        return list(dict.fromkeys(row.embedding for row in self.rows))

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row.values))

    def mean(self, embedding: str, shifted: bool, metric: str) -> float:
        """Mean of a metric over the actions that have it; nan where none has."""
        found = [
            row.values[metric]
            for row in self.rows
            if (row.embedding, row.shifted) == (embedding, shifted) and metric in row.values
        ]
        known = [value for value in found if not math.isnan(value)]
        return sum(known) / len(known) if known else math.nan

    def best(self, shifted: bool, metric: str) -> float:
        """The best mean of a metric over all embeddings."""
        means = [self.mean(name, shifted, metric) for name in self.embeddings]
        known = [value for value in means if not math.isnan(value)]
        if not known:
            return math.nan
        return min(known) if metric in LESS_IS_BETTER else max(known)

    def show(self, console: Console) -> None:
        """Prints one table for whole videos and one for shifted; the headline of them where the
        terminal is narrow."""
        metrics = (
            self.metrics if console.width >= WIDE else [m for m in HEADLINE if m in self.metrics]
        )
        for shifted in (False, True):
            table = Table(title=_caption(shifted), title_justify="left")
            table.add_column("embedding")
            for metric in metrics:
                table.add_column(TITLES[metric], justify="right")
            for name in self.embeddings:
                cells = [self._cell(name, shifted, metric) for metric in metrics]
                bold = [f"[bold]{text}[/bold]" if best else text for text, best in cells]
                table.add_row(name, *bold)
            console.print(table)

    def markdown(self) -> str:
        """Both tables as Markdown, the best of a column in bold."""
        parts = []
        for shifted in (False, True):
            titles = [TITLES[metric] for metric in self.metrics]
            lines = [["embedding", *titles], ["---", *["---:"] * len(titles)]]
            for name in self.embeddings:
                cells = [self._cell(name, shifted, metric) for metric in self.metrics]
                lines.append([name, *[f"**{text}**" if best else text for text, best in cells]])
            rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            parts.append(f"{_caption(shifted)}\n\n{rows}\n")
        return "\n".join(parts)

    def html(self) -> str:
        """Both tables as HTML."""
        parts = []
        for shifted in (False, True):
            head = "".join(f"<th>{TITLES[metric]}</th>" for metric in self.metrics)
            body = []
            for name in self.embeddings:
                cells = [self._cell(name, shifted, metric) for metric in self.metrics]
                row = "".join(
                    f"<td class='best'>{text}</td>" if best else f"<td>{text}</td>"
                    for text, best in cells
                )
                body.append(f"<tr><th>{name}</th>{row}</tr>")
            parts.append(
                f"<table><caption>{_caption(shifted)}</caption>"
                f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
            )
        return "\n".join(parts)

    def csv(self) -> str:
        """All rows, one per embedding, condition and action, and their means."""
        text = io.StringIO()
        out = csv.writer(text, lineterminator="\n")
        out.writerow(["embedding", "videos", "action", *self.metrics])
        for row in self.rows:
            values = [row.values.get(metric, math.nan) for metric in self.metrics]
            out.writerow([row.embedding, _condition(row.shifted), row.action, *_numbers(values)])
        for name in self.embeddings:
            for shifted in (False, True):
                values = [self.mean(name, shifted, metric) for metric in self.metrics]
                out.writerow([name, _condition(shifted), "mean", *_numbers(values)])
        return text.getvalue()

    def write(self, path: Path) -> None:
        """Writes .csv, .md or .html, by the ending. Raises StorageError, and ConfigError for
        another ending."""
        kinds = {".csv": self.csv, ".md": self.markdown, ".html": self.html}
        if path.suffix not in kinds:
            raise ConfigError(f"{path}: give a name that ends in .csv, .md or .html.")
        with replacing(path) as draft:
            draft.write_text(kinds[path.suffix](), encoding="utf-8")

    def _cell(self, name: str, shifted: bool, metric: str) -> tuple[str, bool]:
        value = self.mean(name, shifted, metric)
        if math.isnan(value):
            return "-", False
        return f"{value:.3f}", f"{value:.3f}" == f"{self.best(shifted, metric):.3f}"


def _condition(shifted: bool) -> str:
    return "shifted" if shifted else "whole"


def _caption(shifted: bool) -> str:
    if shifted:
        return "Shifted videos: up to 35 % lost at either end, so that a clock is no help"
    return "Whole videos: the published protocol, which a clock can answer"


def _numbers(values: Sequence[float]) -> list[str]:
    return ["" if math.isnan(value) else f"{value:.6f}" for value in values]
