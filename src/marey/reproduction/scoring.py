"""The scores of a run by a study's protocol, as the rows of its tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from marey.embedding import Model
from marey.errors import StorageError
from marey.evaluation.clip_metrics import score_linear
from marey.evaluation.clips import ClipScores, evaluate_clips
from marey.evaluation.elements import evaluate_elements
from marey.evaluation.protocol import evaluate
from marey.evaluation.scores import Scores
from marey.files import write_json
from marey.reproduction.preparation import Tables, merged
from marey.reproduction.studies import Study
from marey.reproduction.tables import Measured, known

Found = Scores | ClipScores


def score(study: Study, model: Model, tables: Tables, out: Path, show: bool) -> dict[str, Found]:
    """The scores by the tables that they are of."""
    (name, table), *more = tables.items()
    if study.kind == "phases":
        return {name: evaluate(model, table, stride=study.stride, show=show)}
    if study.kind == "elements":
        return {
            name: evaluate_elements(model, table, scratch=out / "scratch", show=show)
            for name, table in tables.items()
        }
    if study.large or not more:
        return {name: evaluate_clips(model, table, score=score_linear, show=show)}
    return {"": evaluate_clips(model, merged(tables), splits=list(tables), show=show)}


def measured_by(study: Study, scores: dict[str, Found]) -> list[Measured]:
    """The rows of the paper's table."""
    if study.kind == "clips":
        (found,) = scores.values()
        assert isinstance(found, ClipScores)
        rows = []
        for name in found.embeddings:
            values = {metric: found.mean(name, metric) for metric in found.metrics}
            for row in found.rows:
                if row.embedding == name and row.fold:
                    values[f"svm_{row.fold}"] = row.values["svm"]
            rows.append(Measured("clips", name, values))
        return rows
    rows = []
    first = next(iter(scores.values()))
    assert isinstance(first, Scores)
    for shifted in (False, True):
        for name in first.embeddings:
            values = {}
            for table, found in scores.items():
                assert isinstance(found, Scores)
                for metric in found.metrics:
                    column = table if study.kind == "elements" else metric
                    values[column] = found.mean(name, shifted, metric)
            rows.append(Measured("shifted" if shifted else "whole", name, values))
    return rows


def keep(path: Path, rows: Sequence[Measured]) -> None:
    """Writes rows for `kept` to read. Raises StorageError."""
    write_json(path, [[row.table, row.row, known(row.values)] for row in rows])


def kept(path: Path) -> list[Measured]:
    """The rows that `keep` wrote. Raises StorageError where they are damaged."""
    try:
        return [Measured(*row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(
            f"{path} is damaged; delete it and run the same command again."
        ) from error
