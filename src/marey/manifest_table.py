"""Tables of text or Parquet as plain rows, for `manifest`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from marey.errors import ManifestError
from marey.files import replacing

SUFFIXES = frozenset((".csv", ".tsv", ".parquet"))

# Line (in Parquet: row, from 1), and the cells that are not empty: stripped text, or a list.
Rows = list[tuple[int, Mapping[str, Any]]]


def read_table(path: Path) -> tuple[list[str], Rows]:
    """Column names and rows. Raises ManifestError for a table that cannot be understood."""
    try:
        return (_read_parquet if path.suffix.lower() == ".parquet" else _read_text)(path)
    except OSError as error:
        why = error.strerror or "damaged"
        raise ManifestError(f"{path} cannot be read ({why}); check the path.") from error
    except ValueError as error:  # what decoding, csv and Arrow raise
        why = " ".join(str(error).split())
        raise ManifestError(
            f"{path} cannot be understood ({why}); save it again as UTF-8 CSV or as Parquet."
        ) from error


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write cells of text, int, None or tuple of int, whole or not at all.

    Raises StorageError where it cannot be written.
    """
    with replacing(path) as draft:
        if path.suffix.lower() == ".parquet":
            _write_parquet(draft, columns, rows)
        else:
            _write_text(draft, columns, rows, "\t" if path.suffix.lower() == ".tsv" else ",")


def _read_text(path: Path) -> tuple[list[str], Rows]:
    # Spreadsheets put a byte order mark in front, and use semicolons where the comma is decimal.
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True)
        try:
            lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error}") from error
    columns = lines.pop(0)[1] if lines else []
    while columns and not columns[-1]:
        columns.pop()
    rows: Rows = []
    for number, line in lines:
        if any(line[len(columns) :]):
            raise ValueError(f"line {number} has {len(line)} columns, the first {len(columns)}")
        cells = {column: cell for column, cell in zip(columns, line, strict=False) if cell}
        if cells:
            rows.append((number, cells))
    return columns, rows


def _read_parquet(path: Path) -> tuple[list[str], Rows]:
    from pyarrow.parquet import ParquetFile  # slow to import, and most tables are text

    table = ParquetFile(path).read()
    rows: Rows = []
    for number, row in enumerate(table.to_pylist(), 1):
        # Columns of numbers with gaps have NaN there, the one value that differs from itself.
        full = {c: cell for c, cell in row.items() if cell is not None and cell == cell}
        cells = {c: v if isinstance(v, list) else str(v).strip() for c, v in full.items()}
        rows.append((number, {c: cell for c, cell in cells.items() if cell != ""}))
    return table.column_names, rows


def _write_text(
    path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]], delimiter: str
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([" ".join(map(str, c)) if isinstance(c, tuple) else c for c in row])


def _write_parquet(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    kinds = {"frames": pa.int64(), "boundaries": pa.list_(pa.int64())}
    schema = pa.schema([(column, kinds.get(column, pa.string())) for column in columns])
    cells = [dict(zip(columns, row, strict=True)) for row in rows]
    write_table(pa.Table.from_pylist(cells, schema), path)
