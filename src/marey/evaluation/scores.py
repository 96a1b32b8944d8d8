"""The scores of frame embeddings, whole and shifted."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from marey.data import LeftOut
from marey.evaluation.tables import Grid, Tabled, numbers

PHASE_TITLES = {
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
"""Metrics of phases by their short names in tables. Errors are in phases, less is better."""

TITLES = PHASE_TITLES | {"elements": "elements"}
"""All metrics of frames."""

LESS_IS_BETTER = ("error_nearest", "error_dtw")


@dataclass(frozen=True, slots=True)
class Row:
    """The metrics of one embedding on the videos of one action, whole or shifted."""

    embedding: str
    shifted: bool
    action: str
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class Scores(Tabled):
    """Everything an evaluation found: per action in `rows`, the videos left out, and of what."""

    headline: ClassVar[tuple[str, ...]] = (
        "classification_100",
        "progression",
        "tau",
        "ap5",
        "error_dtw",
        "elements",
    )

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

    def grids(self, metrics: Sequence[str]) -> list[Grid]:
        """One table for whole videos and one for shifted."""
        return [
            Grid(
                caption(shifted),
                [TITLES[metric] for metric in metrics],
                [
                    (name, [self.mean(name, shifted, metric) for metric in metrics])
                    for name in self.embeddings
                ],
                [TITLES[metric] for metric in LESS_IS_BETTER],
            )
            for shifted in (False, True)
        ]

    def csv(self) -> str:
        """All rows, one per embedding, condition and action, and their means."""
        text = io.StringIO()
        out = csv.writer(text, lineterminator="\n")
        out.writerow(["embedding", "videos", "action", *self.metrics])
        for row in self.rows:
            values = [row.values.get(metric, math.nan) for metric in self.metrics]
            out.writerow([row.embedding, _condition(row.shifted), row.action, *numbers(values)])
        for name in self.embeddings:
            for shifted in (False, True):
                values = [self.mean(name, shifted, metric) for metric in self.metrics]
                out.writerow([name, _condition(shifted), "mean", *numbers(values)])
        return text.getvalue()


def _condition(shifted: bool) -> str:
    return "shifted" if shifted else "whole"


def caption(shifted: bool) -> str:
    """What is said above a table of shifted, or of whole, videos."""
    if shifted:
        return "Shifted videos: up to 35 % lost at either end, so that a clock is no help"
    return "Whole videos: the published protocol, which a clock can answer"
