"""Search by moment: exact, apart, and the same as looking at every row."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import marey
from marey import store
from marey.cli import main
from marey.embedding import Model, embed_to
from marey.errors import ConfigError, ShapeError, StorageError, VideoError
from marey.manifest import Manifest
from marey.moments import _UNIT, Archive, Moment, search
from marey.types import F32, F64, Embeddings


def embeddings(name: str, vectors: F32, starts: F64 | None = None, span: int = 1) -> Embeddings:
    n = len(vectors)
    starts = np.arange(n) / 10 if starts is None else starts
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Embeddings(name, unit, np.arange(n), span, starts, starts + span / 10)


def every_row(
    videos: list[Embeddings], vector: F32, count: int, apart: float, per_video: int
) -> list[tuple[str, int]]:
    """The slow twin: every row against every other of its video."""
    hits: list[tuple[int, str, int]] = []
    for one in videos:
        values = [round(float(v @ vector) / _UNIT) for v in one.vectors]
        for i, value in enumerate(values):
            rivals = [
                j
                for j in range(len(one))
                if j != i and abs(one.start_seconds[i] - one.start_seconds[j]) < apart
            ]
            if all(value > values[j] or (value == values[j] and i < j) for j in rivals):
                hits.append((-value, one.video, i))
    order = {one.video: k for k, one in enumerate(videos)}
    hits.sort(key=lambda hit: (hit[0], order[hit[1]], hit[2]))
    kept: list[tuple[str, int]] = []
    for _, name, i in hits:
        if sum(name == other for other, _ in kept) < per_video:
            kept.append((name, i))
    return kept[:count]


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.12, 0.27, 1.01, 100.0]),  # no distance of two frames
    st.integers(1, 5),
)
def test_search_is_what_looking_at_every_row_finds(
    seed: int, lengths: list[int], count: int, apart: float, per_video: int
) -> None:
    rng = np.random.default_rng(seed)
    # few directions of whole numbers, so that many rows are equally like the query
    choices = rng.integers(-2, 3, (4, 3)) + np.array([0.5, 0, 0])
    videos = [
        embeddings(
            f"{k}.mp4", choices[rng.integers(0, 4, n)], np.cumsum(rng.choice([0.05, 0.3], n))
        )
        for k, n in enumerate(lengths)
    ]
    vector = videos[0].vectors[0]
    found = Archive(videos).nearest(vector, count, apart=apart, per_video=per_video)
    expected = every_row(videos, vector, count, apart, per_video)
    assert [(one.video, one.first) for one in found] == expected


def test_many_rows_are_searched_to_the_end() -> None:
    """Where one video holds all that is alike, others are found behind it."""
    rng = np.random.default_rng(0)
    crowd = embeddings("crowd", np.tile([1.0, 0.0], (5000, 1)) + rng.normal(0, 1e-3, (5000, 2)))
    other = embeddings("other", rng.normal(size=(50, 2)) - [0.0, 9.0])
    found = Archive([crowd, other]).nearest(crowd.vectors[7], 2, per_video=1)
    assert [one.video for one in found] == ["crowd", "other"]
    assert len(Archive([crowd, other]).nearest(crowd.vectors[7], 10**6, apart=0)) == 5050


def test_the_moment_itself_is_left_out_and_its_twin_is_found() -> None:
    walk = np.random.default_rng(0).normal(size=(40, 8))
    twice = embeddings("twice.mp4", np.concatenate([walk, walk]))
    found = search([twice, embeddings("other.mp4", walk[::-1].copy())], "twice.mp4", 1.25, count=2)
    assert found.query == Moment("twice.mp4", 12, 1, pytest.approx(1.2), pytest.approx(1.3), 1.0)
    assert [(one.video, one.first) for one in found.moments] == [
        ("twice.mp4", 52),
        ("other.mp4", 27),
    ]
    assert found.moments[0].similarity == pytest.approx(1, abs=1e-6)


def test_printed_times_lead_back_to_their_frames() -> None:
    starts = np.arange(300) * 1001 / 30000
    video = Embeddings(
        "v", np.ones((300, 2), np.float32) / np.float32(2**0.5), np.arange(300), 1, starts,
        starts + 1001 / 30000,
    )  # fmt: skip
    for row in range(300):
        assert search([video], "v", float(f"{starts[row]:.6f}")).query.first == row


def test_of_overlapping_clips_the_one_whose_middle_is_nearest() -> None:
    clips = embeddings("v", np.random.default_rng(0).normal(size=(20, 4)), span=8)
    assert search([clips], "v", 1.0).query.first == 6  # 0.6 to 1.4 s
    assert search([clips], "v", 0.0).query.first == 0


@pytest.mark.parametrize(
    ("at", "message"), [(-0.1, "none at -0.1 s"), (5.0, "0.00 to 4.00 s, and none at 5 s")]
)
def test_a_second_that_the_video_does_not_have(at: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search([embeddings("v", np.ones((40, 2)))], "v", at)


def test_what_cannot_be_searched_is_said() -> None:
    one, wide = embeddings("a", np.ones((4, 2))), embeddings("b", np.ones((4, 3)))
    with pytest.raises(ConfigError, match=r"x is not among the 1 videos of the archive, such as a"):
        search([one], "x", 0.1)
    with pytest.raises(ConfigError, match="a is 2 times"):
        Archive([one, one])
    with pytest.raises(ConfigError, match="no embedding to search"):
        Archive([])
    with pytest.raises(ShapeError, match=r"different sizes D: \[2, 3\]"):
        Archive([one, wide])
    with pytest.raises(ShapeError, match=r"the query must be \(2,\).* same run"):
        search([one], wide, 0.1)
    for bad in (np.zeros(2), np.array([np.nan, 1])):
        with pytest.raises(ShapeError, match="finite and not zero"):
            Archive([one]).nearest(bad.astype(np.float32))
    torn = embeddings("torn", np.ones((4, 2)))
    torn.vectors[2, 0] = np.nan
    with pytest.raises(ShapeError, match="torn has embeddings that are not finite"):
        search([one, torn], "a", 0.1)
    for options in ({"count": 0}, {"per_video": 0}, {"apart": -1.0}, {"apart": float("nan")}):
        with pytest.raises(ConfigError, match="at least"):
            search([one], "a", 0.1, **options)


def test_the_table_is_in_memory_once() -> None:
    archive = Archive([embeddings("a", np.ones((4, 2))), embeddings("b", np.ones((5, 2)))])
    assert len(archive) == 9
    assert archive.names == ("a", "b")
    for name in archive.names:
        assert np.shares_memory(archive[name].vectors, archive.vectors)


@pytest.fixture(scope="module")
def table(run: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("archive") / "emb.parquet"
    embed_to(out, run, Manifest.read(world).select(split="test"))
    return out


def test_a_file_is_searched_from_the_command_line(
    run: Path, world: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = store.read(table)[0]
    at = float(first.start_seconds[4])
    files = [tmp_path / "$1 hits.csv", tmp_path / "hits.json", tmp_path / "hits.png"]
    where = ["--out", *map(str, files), "--videos", str(world.parent)]
    wanted = ["--at", str(at), "--count", "3", "--apart", "0.2"]
    main(["search", str(table), first.video, *wanted, *where])
    printed = capsys.readouterr().out.splitlines()
    found = marey.search(table, first.video, at, count=3, apart=0.2)
    assert len(printed) == 6
    for line, one in zip(printed, found.moments, strict=False):
        assert line.split() == [
            f"{one.similarity:.3f}", f"{one.start_seconds:.2f}", "s", *one.video.split()
        ]  # fmt: skip
    with files[0].open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["video"], int(row["first"])) for row in rows] == [
        (one.video, one.first) for one in found.moments
    ]
    assert json.loads(files[1].read_text()) == json.loads(json.dumps(found.as_dict()))
    assert files[2].read_bytes().startswith(b"\x89PNG")

    path = world.parent / first.video
    main(["search", str(table), str(path), "--run", str(run), *wanted])
    again = capsys.readouterr().out.splitlines()
    assert again[0].split() == ["1.000", f"{first.start_seconds[4]:.2f}", "s", first.video]


def test_another_run_cannot_ask(
    run: Path, world: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of two networks look alike by chance alone; what was exported is the same network."""
    marey.export_run(run, tmp_path / "shared")
    Model(tmp_path / "shared").require_maker_of(table)

    other = tmp_path / "other"
    shutil.copytree(run, other)
    weights = load_file(other / "checkpoint" / "model.safetensors")
    name = next(name for name in weights if name.startswith("encoder"))
    save_file({**weights, name: weights[name] + 1}, other / "checkpoint" / "model.safetensors")
    video = str(Manifest.read(world).entries[0].path)
    with pytest.raises(SystemExit):
        main(["search", str(table), video, "--run", str(other), "--at", "0.1"])
    assert "made by other weights (run 'run')" in capsys.readouterr().err


def test_a_query_from_elsewhere_is_shown(
    run: Path, world: Path, table: Path, tmp_path: Path
) -> None:
    path = tmp_path / "my $own'é.mp4"
    shutil.copy(Manifest.read(world).entries[0].path, path)
    found = marey.search(table, Model(run).embed(path), 0.2, count=2)
    found.write(tmp_path / "hits.png", videos=world.parent)
    assert (tmp_path / "hits.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_needs_the_videos(table: Path, tmp_path: Path) -> None:
    found = marey.search(table, store.read(table)[0].video, 0.1)
    with pytest.raises(VideoError, match="nowhere"):
        found.write(tmp_path / "hits.png", videos=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"\.csv, \.json or \.png"):
        found.write(tmp_path / "hits.gif")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="There is no file"):
        marey.search(tmp_path / "no.parquet", "a", 0.1)


def test_a_new_video_is_looked_for_by_its_embeddings(run: Path, world: Path, table: Path) -> None:
    entry = Manifest.read(world).select(split="test").entries[1]
    found = marey.search(table, Model(run).embed(entry.path, "elsewhere.mp4"), 0.2, count=1)
    assert found.query.video == "elsewhere.mp4"
    assert (found.moments[0].video, found.moments[0].first) == (entry.name, found.query.first)
