"""One's own numbers over seeds, and the published ones beside them, marked as such."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marey.evaluation import clips, scores
from marey.reproduction.studies import Study

CAPTIONS = {
    "whole": "Whole videos: the published protocol, which a clock can answer",
    "shifted": "Shifted videos: up to 35 % lost at either end, so that a clock is no help",
    "clips": "Frozen features of clips",
    "tuned": "Fine-tuned: the whole network, on the first split; 10 clips of 3 crops",
}
"""The tables that a study may have, in their order; published rows stand in the first of it."""

TITLES = (
    {"gym99": "FineGym99", "gym288": "FineGym288"}
    | scores.PHASE_TITLES
    | {"svm": "SVM", "svm_split1": "SVM 1", "svm_split2": "SVM 2", "svm_split3": "SVM 3"}
    | clips.TITLES
    | {"accuracy": "accuracy"}
)
"""Metrics in the order of their columns."""


@dataclass(frozen=True)
class Measured:
    """The metrics of one row of one table, measured with one seed; nan where not known."""

    table: str
    row: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Summary:
    """A row over all seeds. spread: standard deviation, nan for a single seed."""

    table: str
    row: str
    mean: Mapping[str, float]
    spread: Mapping[str, float]


def summarise(seeds: Sequence[Sequence[Measured]]) -> list[Summary]:
    """Mean and spread over the seeds of every row, in the order of the first seed.

    A number that some seed does not know is nan.
    """
    found = []
    for first in seeds[0]:
        same = [m for rows in seeds for m in rows if (m.table, m.row) == (first.table, first.row)]
        values = {name: [m.values.get(name, math.nan) for m in same] for name in first.values}
        found.append(
            Summary(
                first.table,
                first.row,
                {name: statistics.fmean(of) for name, of in values.items()},
                {name: _spread(of) for name, of in values.items()},
            )
        )
    return found


def _spread(values: Sequence[float]) -> float:
    known = len(values) > 1 and not any(map(math.isnan, values))
    return statistics.stdev(values) if known else math.nan


def markdown(study: Study, facts: Mapping[str, str], rows: Sequence[Summary]) -> str:
    """The page: what was done, and every table with the published rows above one's own."""
    lines = [f"# {study.title}", "", study.about, ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    tables = [name for name in CAPTIONS if any(row.table == name for row in rows)]
    for table in tables:
        own = [row for row in rows if row.table == table]
        figures = study.figures if table == tables[0] else ()
        named = {metric for row in (*own,) for metric in row.mean}
        columns = [metric for metric in TITLES if metric in named]
        lines += ["", CAPTIONS[table], ""]
        lines.append(_line(["", *[TITLES[metric] for metric in columns]]))
        lines.append(_line(["---", *["---:"] * len(columns)]))
        for figure in figures:
            cells = [_cell(figure.values.get(metric, math.nan)) for metric in columns]
            lines.append(_line([f"published: {figure.row}", *cells]))
        for row in own:
            cells = [_cell(row.mean.get(m, math.nan), row.spread.get(m)) for m in columns]
            lines.append(_line([row.row, *cells]))
    return "\n".join(lines) + "\n"


def as_data(study: Study, rows: Sequence[Summary]) -> list[dict[str, Any]]:
    """The same as plain JSON data; what is not known is left out."""
    data: list[dict[str, Any]] = [
        {"row": figure.row, "published": True, "mean": dict(figure.values)}
        for figure in study.figures
    ]
    for row in rows:
        data.append(
            {
                "table": row.table,
                "row": row.row,
                "published": False,
                "mean": known(row.mean),
                "spread": known(row.spread),
            }
        )
    return data


def known(values: Mapping[str, float]) -> dict[str, float]:
    """The numbers that are known, since JSON has no nan."""
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _cell(value: float, spread: float | None = None) -> str:
    if math.isnan(value):
        return "-"
    # percent with two digits, as the papers print
    return f"{value:.4f}" if spread is None or math.isnan(spread) else f"{value:.4f} ± {spread:.4f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
