"""Embeddings on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marey import store
from marey.errors import ShapeError, StorageError
from marey.types import Embeddings


def embeddings(video: str, rows: int, dimension: int = 4, span: int = 1) -> Embeddings:
    rng = np.random.default_rng(rows)
    start = np.arange(rows) / 25
    return Embeddings(
        video=video,
        vectors=rng.normal(size=(rows, dimension)).astype(np.float32),
        first=np.arange(rows),
        span=span,
        start_seconds=start,
        end_seconds=start + span / 25,
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(1, 9))
def test_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], d: int
) -> None:
    path = tmp_path_factory.mktemp("store") / "emb é#.parquet"
    videos = [embeddings(f"folder/vidéo {i}.mp4", n, d, span=i + 1) for i, n in enumerate(rows)]
    assert store.write(path, videos, {"method": "carl"}) == sum(rows)
    back = store.read(path)
    assert [one.video for one in back] == [one.video for one in videos]
    for one, other in zip(back, videos, strict=True):
        for name in ("vectors", "first", "start_seconds", "end_seconds"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert one.span == other.span
    assert store.about(path)["method"] == "carl"
    assert store.about(path)["dimension"] == d


def test_any_parquet_reader_sees_plain_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    store.write(path, [embeddings("a.mp4", 3)])
    table = pq.read_table(path)
    assert table.column_names == [
        "video", "first", "frames", "start_seconds", "end_seconds", "embedding",
    ]  # fmt: skip
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 4)


def test_a_video_of_another_dimension_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(ShapeError, match="b.mp4"):
        store.write(path, [embeddings("a.mp4", 3, 4), embeddings("b.mp4", 3, 5)])
    assert list(tmp_path.iterdir()) == []


def test_a_crash_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    store.write(path, [embeddings("old.mp4", 3)])

    def broken():  # type: ignore[no-untyped-def]
        yield embeddings("new.mp4", 3)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        store.write(path, broken())
    assert [one.video for one in store.read(path)] == ["old.mp4"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


def test_foreign_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    text, foreign = tmp_path / "text.parquet", tmp_path / "foreign.parquet"
    text.write_text("no parquet")
    pq.write_table(pa.table({"x": [1]}), foreign)
    for path, message in (
        (tmp_path / "none.parquet", "There is no file"),
        (text, "not a complete Parquet file"),
        (foreign, "not of Marey's embeddings"),
    ):
        for look in (store.read, store.about):
            with pytest.raises(StorageError, match=message):
                look(path)
    with pytest.raises(StorageError, match="no embedding"):
        store.write(tmp_path / "empty.parquet", [])
