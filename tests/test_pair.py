"""Two videos laid over one another, as files."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import marey
from marey.embedding import Model
from marey.errors import ConfigError, VideoError
from marey.manifest import Manifest
from marey.pair import Pair, align
from marey.video import probe, read


@pytest.fixture(scope="module")
def pair(run: Path, world: Path) -> Pair:
    first, second = Manifest.read(world).select(split="test").entries[:2]
    return align(run, first.path, second.path)


def test_every_frame_of_the_query_has_its_place(pair: Pair) -> None:
    frames, seconds = pair.frames(), pair.seconds()
    assert set(frames[0]) == set(range(pair.infos[0].frames))
    assert frames[1].max() == pair.infos[1].frames - 1
    assert (np.diff(seconds) >= 0).all()
    assert pair.matches().shape == (pair.infos[0].frames,)
    assert 0 <= pair.alignability <= 1


def test_csv_and_json_hold_the_matched_times(pair: Pair, tmp_path: Path) -> None:
    pair.write(tmp_path / "p.csv")
    pair.write(tmp_path / "p.json")
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    data = json.loads((tmp_path / "p.json").read_text())
    assert len(rows) == pair.path.path.shape[1] == len(data["query_frames"])
    assert [int(row["reference_frame"]) for row in rows] == pair.frames()[1].tolist()
    assert float(rows[-1]["query_seconds"]) == pytest.approx(pair.seconds()[0, -1], abs=1e-5)
    assert data["matcher"] == "dtw"
    assert data["belong_together"] == pair.belongs


def test_the_video_shows_the_reference_following_the_query(pair: Pair, tmp_path: Path) -> None:
    pair.write(tmp_path / "p.mp4")
    info = probe(tmp_path / "p.mp4")
    assert info.frames == len(pair.a)
    assert info.fps == pytest.approx(pair.infos[0].fps, rel=0.01)
    shown = read(tmp_path / "p.mp4", [0, info.frames // 2]).pixels.astype(float)
    left = read(pair.infos[0].path, [0, info.frames // 2]).pixels.astype(float)
    height, width = left.shape[1:3]
    scale = (shown.shape[1] - 28) / height
    for now, was in zip(shown, left, strict=True):
        panel = now[: round(height * scale), : round(width * scale)]
        assert abs(panel.mean() - was.mean()) < 6


def test_pictures_are_written(pair: Pair, tmp_path: Path) -> None:
    pair.write(tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert len(pair.strip_picture(5).axes) == 10


def test_another_ending_is_refused(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.mp4, \.csv, \.json or \.png"):
        pair.write(tmp_path / "p.gif")
    assert list(tmp_path.iterdir()) == []


def test_a_video_aligns_with_itself_along_the_diagonal(run: Path, world: Path) -> None:
    path = Manifest.read(world).entries[0].path
    model = Model(run)
    same = align(model, path, path)
    assert (same.path.path[0] == same.path.path[1]).all()
    assert same.path.cost == pytest.approx(0, abs=1e-5)
    with pytest.raises(ConfigError, match="no matcher"):
        align(model, path, path, matcher="magic")  # type: ignore[arg-type]


def test_files_with_strange_names(run: Path, world: Path, tmp_path: Path) -> None:
    strange = tmp_path / "-my $video$ #1 «été» 100%.mp4"
    shutil.copy(Manifest.read(world).entries[0].path, strange)
    pair = marey.align(run, strange, strange)
    pair.write(tmp_path / "out #1.mp4")
    pair.write(tmp_path / "out #1.png")
    assert pair.a.video == str(strange)


def test_a_missing_video_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="gone.mp4"):
        align(run, tmp_path / "gone.mp4", tmp_path / "gone.mp4")
