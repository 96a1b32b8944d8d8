"""Embeddings of files, many at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marey import store
from marey.embedding import Model, embed, embed_to
from marey.errors import ManifestError
from marey.manifest import Manifest
from marey.units import gather, in_units, one_after_another
from marey.video import probe, stream


@pytest.fixture(scope="module")
def files(world: Path) -> list[Path]:
    return [entry.path for entry in Manifest.read(world).entries[:3]]


def test_one_row_of_unit_norm_per_frame(run: Path, files: list[Path]) -> None:
    for one, path in zip(embed(run, files), files, strict=True):
        info = probe(path)
        assert one.video == str(path)
        assert one.vectors.shape == (info.frames, 32)
        assert one.vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(one.vectors, axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(one.first, np.arange(info.frames))
        np.testing.assert_allclose(one.start_seconds, info.seconds)
        assert (one.end_seconds > one.start_seconds).all()


def test_a_batch_leaves_out_what_it_cannot_read(
    run: Path, files: list[Path], tmp_path: Path
) -> None:
    fake, cut = tmp_path / "fake.mp4", tmp_path / "cut.mp4"
    fake.write_text("text")
    cut.write_bytes(files[0].read_bytes()[:900])
    done = embed_to(tmp_path / "emb.parquet", run, [files[0], fake, files[1], cut])
    assert [Path(name).name for name, _ in done.left_out] == ["fake.mp4", "cut.mp4"]
    back = store.read(tmp_path / "emb.parquet")
    assert [one.video for one in back] == [str(files[0]), str(files[1])]
    assert done.rows == sum(len(one) for one in back)
    about = store.about(tmp_path / "emb.parquet")
    assert about["method"] == "carl"
    with pytest.raises(ManifestError, match="None of the 1 videos"):
        embed_to(tmp_path / "none.parquet", run, [fake])


def test_a_stopped_batch_goes_on_where_it_was(
    run: Path, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, embedded = Model(run), []
    real = Model.embed

    def watched(self: Model, path: Path, *more: object):  # type: ignore[no-untyped-def]
        if len(embedded) == 2:
            raise KeyboardInterrupt
        embedded.append(path)
        return real(self, path, *more)

    out = tmp_path / "emb.parquet"
    monkeypatch.setattr(Model, "embed", watched)
    with pytest.raises(KeyboardInterrupt):
        embed_to(out, model, files)
    assert not out.exists()
    embedded.clear()
    done = embed_to(out, model, files)
    assert embedded == [files[2]]
    assert done.videos == 3
    assert [p.name for p in tmp_path.iterdir()] == ["emb.parquet"]


@pytest.mark.parametrize(("frames", "length", "stride"), [(50, 1, 1), (50, 4, 2), (30, 16, 5)])
def test_clips_hold_the_frames_they_should(
    frames: int, length: int, stride: int, files: list[Path]
) -> None:
    """Whatever spans a method embeds, and however the video is cut into chunks."""
    info = probe(files[0])
    frames = min(frames, info.frames)
    starts = np.arange(0, frames - length + 1, stride)
    units = starts[:, None] + np.arange(length)
    size = min(info.height, info.width)
    whole = np.concatenate([f.pixels for f in stream(info.path, info=info)])
    for chunk in (64, 7, 1, 5):
        parts = [pixels[places] for pixels, places in in_units(info, units, size, chunk)]
        np.testing.assert_array_equal(np.concatenate(parts), whole[units])


@given(
    first=st.integers(0, 3),
    down=st.integers(0, 3),
    right=st.integers(0, 3),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 4)),
)
def test_evenly_spaced_places_are_not_copied(
    first: int, down: int, right: int, shape: tuple[int, int]
) -> None:
    places = first + down * np.arange(shape[0])[:, None] + right * np.arange(shape[1])
    frames = torch.arange(75).view(25, 3, 1)[:, ::2]
    chosen = gather(frames, places)
    assert torch.equal(chosen, frames[places])
    assert chosen.data_ptr() == frames[int(places[0, 0]) :].data_ptr()


def test_places_in_order_are_not_copied() -> None:
    frames = torch.arange(12).view(6, 2)
    for places in (one_after_another(6, 1), one_after_another(3, 2)):
        chosen = gather(frames, places)
        assert torch.equal(chosen, frames[places])
        assert chosen.data_ptr() == frames.data_ptr()


def test_other_places_are_gathered() -> None:
    frames = torch.arange(12).view(6, 2)
    for rows in ([[0, 1], [1, 3]], [[1, 0]], [[2, 3], [1, 2]], [[0, 1], [1, 2], [1, 2]]):
        places = np.array(rows)
        assert torch.equal(gather(frames, places), frames[places])
