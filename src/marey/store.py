"""Embeddings on disk: one Parquet table, one row per span of a video.

Columns: video, first (frame), frames (of the span), start_seconds, end_seconds, embedding
(fixed-size list of float32). The method's name, D, the run and a digest of its weights stand in the
file's metadata under `marey`.
Pandas, DuckDB, Polars and Arrow read it as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from marey.errors import ShapeError, StorageError
from marey.files import replacing
from marey.types import Embeddings

FORMAT = 1


def write(path: Path, videos: Iterable[Embeddings], about: dict[str, Any] | None = None) -> int:
    """Writes the embeddings of many videos, one row group each, as they come.

    The file appears under its name when all are written. Returns the number of rows.
    Raises StorageError where it cannot be written, ShapeError where D differs between videos.
    """
    rows = 0
    with replacing(path) as draft:
        writer: pq.ParquetWriter | None = None
        try:
            for one in videos:
                table = _table(one, about or {})
                if writer is None:
                    writer = pq.ParquetWriter(draft, table.schema, compression="zstd")
                elif table.schema != writer.schema:
                    raise ShapeError(f"{one.video}: D differs from the videos before it.")
                writer.write_table(table)
                rows += len(one)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise StorageError(f"{path} was not written: there is no embedding to store.")
    return rows


def read(path: Path) -> list[Embeddings]:
    """All embeddings of a file, videos in their order. Raises StorageError for any other file."""
    return list(stream(path))


def stream(path: Path) -> Iterator[Embeddings]:
    """The same, one video at a time. Raises StorageError for any other file."""
    try:
        file = pq.ParquetFile(path)
        if b"marey" not in (file.schema_arrow.metadata or {}):
            raise StorageError(f"{path} is a Parquet file, but not of Marey's embeddings.")
        for group in range(file.num_row_groups):
            yield _embeddings(file.read_row_group(group))
    except FileNotFoundError as error:
        raise StorageError(f"There is no file {path}; `marey embed` makes one.") from error
    except pa.ArrowException as error:
        raise StorageError(f"{path} is not a complete Parquet file; embed again.") from error


def about(path: Path) -> dict[str, Any]:
    """What the file says of itself: method, run, version. Raises StorageError."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except FileNotFoundError as error:
        raise StorageError(f"There is no file {path}; `marey embed` makes one.") from error
    except pa.ArrowException as error:
        raise StorageError(f"{path} is not a complete Parquet file; embed again.") from error
    if b"marey" not in metadata:
        raise StorageError(f"{path} is a Parquet file, but not of Marey's embeddings.")
    return dict(json.loads(metadata[b"marey"]))


def _table(one: Embeddings, about: dict[str, Any]) -> pa.Table:
    n, d = one.vectors.shape
    flat = pa.array(np.ascontiguousarray(one.vectors, np.float32).reshape(-1))
    columns = {
        "video": pa.array([one.video] * n, pa.string()),
        "first": pa.array(one.first, pa.int64()),
        "frames": pa.array(np.full(n, one.span), pa.int32()),
        "start_seconds": pa.array(one.start_seconds, pa.float64()),
        "end_seconds": pa.array(one.end_seconds, pa.float64()),
        "embedding": pa.FixedSizeListArray.from_arrays(flat, d),
    }
    text = json.dumps({"format": FORMAT, "dimension": d, **about})
    return pa.table(columns).replace_schema_metadata({b"marey": text.encode()})


def _embeddings(table: pa.Table) -> Embeddings:
    table = table.combine_chunks()
    column = table["embedding"].chunk(0)
    return Embeddings(
        video=table["video"][0].as_py(),
        vectors=column.flatten().to_numpy().reshape(len(table), -1),
        first=table["first"].to_numpy(),
        span=int(table["frames"][0].as_py()),
        start_seconds=table["start_seconds"].to_numpy(),
        end_seconds=table["end_seconds"].to_numpy(),
    )
