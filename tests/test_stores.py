"""What is computed of a video once: frames and motion, kept and found again."""

from __future__ import annotations

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marey import motion_store
from marey.batches import PixelSteps
from marey.data import Stores, survey
from marey.errors import StorageError, VideoError
from marey.frame_store import FrameStore
from marey.manifest import Manifest
from marey.motion import MotionSettings, video_motion
from marey.motion_store import MotionStore
from marey.precomputation import precompute
from marey.recipes import mcl_tiny
from marey.video import probe, read


@pytest.fixture
def videos(world: Path) -> list[Path]:
    return [entry.path for entry in Manifest.read(world)][:3]


def test_kept_frames_are_those_of_the_video(videos: list[Path], tmp_path: Path) -> None:
    store = FrameStore(tmp_path / "frames", 40)
    info = probe(videos[0])
    want = read(videos[0], np.arange(info.frames), size=40).pixels
    np.testing.assert_array_equal(store.of(info), want)
    written = next((tmp_path / "frames").iterdir())
    before = written.stat().st_mtime_ns
    np.testing.assert_array_equal(store.of(info), want)
    assert written.stat().st_mtime_ns == before
    assert [p.suffix for p in (tmp_path / "frames").iterdir()] == [".npy"]


def test_motion_stays_in_memory_while_there_is_room(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MotionStore(tmp_path, MotionSettings()).of(videos[0])
    maps = MotionStore(tmp_path, MotionSettings()).of(videos[1])
    size = maps.maps.nbytes + maps.scores.nbytes + maps.grid.nbytes
    monkeypatch.setattr(motion_store, "ROOM", size)
    store = MotionStore(tmp_path, MotionSettings())
    held = store.of(videos[1])
    assert store.of(videos[1]) is held
    assert store.of(videos[0]) is not store.of(videos[0])
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).of(videos[1]).maps, held.maps)


def test_threads_read_kept_arrays_one_after_the_other(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NumPy parses headers with `ast`, which now and then fails on several threads at once."""
    frames, motion = FrameStore(tmp_path / "frames", 40), MotionStore(tmp_path, MotionSettings())
    info = probe(videos[0])
    want = np.array(frames.of(info)), motion.of(videos[0]).maps
    reading, most, load = [0], [0], np.load

    def slow(*args: Any, **options: Any) -> Any:
        reading[0] += 1
        most[0] = max(most[0], reading[0])
        time.sleep(0.01)
        try:
            return load(*args, **options)
        finally:
            reading[0] -= 1

    monkeypatch.setattr(np, "load", slow)
    with ThreadPoolExecutor(6) as pool:
        kept = [pool.submit(frames.of, info) for _ in range(3)]
        maps = [pool.submit(motion.of, videos[0]) for _ in range(3)]
    assert all(np.array_equal(done.result(), want[0]) for done in kept)
    assert all(np.array_equal(done.result().maps, want[1]) for done in maps)
    assert most == [1]


def test_a_training_sees_the_same_from_kept_frames(videos: list[Path], tmp_path: Path) -> None:
    corpus = survey(Manifest.of(videos))
    seen = []
    for keep in (False, True):
        recipe = mcl_tiny()
        recipe = replace(recipe, data=replace(recipe.data, keep_frames=keep, videos=3))
        stores = Stores.of(recipe, tmp_path)
        assert (stores.frames is not None) == keep
        step = PixelSteps(recipe, corpus, stores, 0, 1)[2]
        assert not step.left_out
        assert len(step.videos) == len(step.views) == 3
        seen.append(step.pixels)
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


def test_a_video_cut_short_leaves_no_frames_behind(videos: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    whole = videos[0].read_bytes()
    broken.write_bytes(whole[: len(whole) * 2 // 3])
    store = FrameStore(tmp_path / "frames", 40)
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        store.of(replace(probe(videos[0]), path=broken))
    assert not list(tmp_path.rglob("*.npy"))


def test_frames_that_cannot_be_written_are_said(videos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="could not be written"):
        FrameStore(tmp_path / "file", 40).of(probe(videos[0]))


def test_motion_is_computed_once_for_each_kind(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def counted(path: Path, settings: MotionSettings):  # type: ignore[no-untyped-def]
        calls.append(path)
        return video_motion(path, settings)

    monkeypatch.setattr(motion_store, "video_motion", counted)
    settings = MotionSettings(clip=16)
    store = MotionStore(tmp_path / "motion", settings)
    fake = tmp_path / "words.mp4"
    fake.write_text("no video")
    recipe = mcl_tiny()
    recipe = replace(recipe, method=replace(recipe.method, length=8, stride=2, window=8))
    done = precompute([*videos, fake], tmp_path, recipe)
    assert [name for name, _ in done.left_out] == [str(fake)]
    assert done.videos == 3
    assert sorted(calls) == sorted(videos)
    calls.clear()
    precompute(videos, tmp_path, recipe)
    maps = store.of(videos[0])
    assert not calls
    np.testing.assert_array_equal(maps.maps, video_motion(videos[0], settings).maps)
    MotionStore(tmp_path / "motion", MotionSettings(clip=16, engine="difference")).of(videos[0])
    assert calls == [videos[0]]
    videos[0].touch()
    store.of(videos[0])
    assert calls == [videos[0]] * 2
