"""The demo world: exact phases, seeded, resumable, and useless to a clock."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marey import video
from marey.errors import ConfigError, StorageError
from marey.manifest import Manifest
from marey.synthetic import world as worlds
from marey.synthetic.actions import ACTIONS, PARAMETERS
from marey.synthetic.figure import ANKLE, JOINTS, sample_body, sample_motion, skeleton
from marey.synthetic.world import render_world, sample_video
from marey.types import U8

SMALL = (64, 64)


def little(folder: Path, videos: int = 4, **settings: object) -> Path:
    style = {"actions": ("pitch", "sit_up"), "size": (32, 48), "fps": (10.0,), "split": 0.5}
    return render_world(folder, videos=videos, **({"workers": 1} | style | settings))  # type: ignore[arg-type]


def same_film(one: Path, other: U8) -> bool:
    """The frames are equal before they are encoded; x264 may spend its bits differently."""
    pixels = video.read(one).pixels
    return pixels.shape == other.shape and np.abs(pixels.astype(int) - other).mean() < 6


@pytest.mark.parametrize("action", ACTIONS)
def test_a_video_is_all_that_it_says(action: str) -> None:
    made = sample_video(np.random.default_rng(3), action, size=SMALL)
    assert made.pixels.shape[1:] == (*SMALL, 3)
    assert made.pixels.dtype == np.uint8
    assert made.joints.shape == (len(made.pixels), len(JOINTS), 2)
    assert made.fps in (25, 30)
    assert made.phases[0] == "before"
    assert made.phases[-1] == "after"
    assert 3 <= len(made.phases) - 2 <= 6
    assert len(set(made.phases)) == len(made.phases)
    edges = [0, *made.boundaries, len(made.pixels)]
    assert len(edges) == len(made.phases) + 1
    assert (np.diff(edges) > 0).all()


def test_a_seed_is_a_video() -> None:
    one, same, other = (
        sample_video(np.random.default_rng(seed), "golf_swing", size=SMALL) for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(one.pixels, same.pixels)
    np.testing.assert_array_equal(one.joints, same.joints)
    np.testing.assert_array_equal(one.boundaries, same.boundaries)
    assert one.pixels.shape != other.pixels.shape or (one.pixels != other.pixels).mean() > 0.5


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    action=st.sampled_from(sorted(ACTIONS)),
    fps=st.floats(5, 60),
    variety=st.floats(0, 1),
)
def test_every_phase_has_a_frame_and_bones_keep_their_length(
    seed: int, action: str, fps: float, variety: float
) -> None:
    rng = np.random.default_rng(seed)
    body = sample_body(rng)
    motion = sample_motion(rng, ACTIONS[action], fps, variety)
    assert len(motion.boundaries) == len(ACTIONS[action].phases) - 1
    assert (np.diff([0, *motion.boundaries, len(motion.poses)]) > 0).all()

    figure = skeleton(motion.poses, body)
    assert np.isfinite(figure.joints).all()
    for side in ("right", "left"):
        for a, b, length in (
            ("hip", "knee", body.thigh),
            ("knee", "ankle", 1 - body.thigh),
            ("shoulder", "elbow", body.upper_arm),
            ("elbow", "wrist", body.forearm),
        ):
            bone = np.linalg.norm(figure[f"{side}_{a}"] - figure[f"{side}_{b}"], axis=1)
            np.testing.assert_allclose(bone, length, atol=1e-6)
    assert figure.joints[..., 1].min() > -0.05, "something goes through the floor"


@pytest.mark.parametrize("action", ACTIONS)
def test_boundaries_are_the_key_poses(action: str) -> None:
    """Without manners, the pose at every boundary is the key pose that ends the phase."""
    knots = ACTIONS[action].knots()
    motion = sample_motion(np.random.default_rng(0), ACTIONS[action], 240.0, 0.0)
    still = [PARAMETERS.index(name) for name in ("y", "hop", "grip", "rx", "ry", "lx", "ly")]
    for boundary, keys in zip(motion.boundaries, knots, strict=True):
        np.testing.assert_allclose(motion.poses[boundary, still], keys[-1, still], atol=0.03)


def test_feet_stay_where_they_stand() -> None:
    rng = np.random.default_rng(0)
    body = sample_body(rng)
    figure = skeleton(sample_motion(rng, ACTIONS["squat_press"], 25, 1.0).poses, body)
    for side in ("right", "left"):
        ankle = figure[f"{side}_ankle"]
        assert np.ptp(ankle, axis=0).max() < 0.02
        np.testing.assert_allclose(ankle[:, 1], ANKLE, atol=0.02)


def test_joints_stay_in_view_and_on_the_figure() -> None:
    inside, contrast = [], []
    for number, action in enumerate(ACTIONS):
        made = sample_video(np.random.default_rng(number), action, size=SMALL)
        x, y = made.joints[..., 0], made.joints[..., 1]
        inside.append(((x >= 0) & (x < 64) & (y >= 0) & (y < 64)).mean())
        # the head's pixel changes when the head moves away from it, the empty corner's hardly
        head = made.joints[:, JOINTS.index("head")].round().astype(int).clip(0, 63)
        change = np.ptp(made.pixels.astype(float), axis=0).mean(2)
        contrast.append(change[head[:, 1], head[:, 0]].mean() / np.median(change))
    assert min(inside) > 0.9
    assert np.median(contrast) > 1.5


@pytest.mark.parametrize("action", ACTIONS)
def test_a_clock_cannot_tell_the_phase(action: str) -> None:
    rng = np.random.default_rng(1)
    motions = [sample_motion(rng, ACTIONS[action], 25, 1.0) for _ in range(100)]
    times = np.stack([motion.boundaries / len(motion.poses) for motion in motions])
    assert times.std(0).min() > 0.08


def test_motion_tells_the_action() -> None:
    """The nearest mean course of the joints, over the phases of the action, names it."""

    def course(seed: int, action: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        rng = np.random.default_rng((seed, len(action)))
        motion = sample_motion(rng, ACTIONS[action], 25, 1.0)
        joints = skeleton(motion.poses, sample_body(rng)).joints
        active = np.linspace(motion.boundaries[0], motion.boundaries[-1], 16).astype(int)
        return (joints[active] - joints[active[0]]).ravel()

    means = {a: np.mean([course(s, a) for s in range(6)], 0) for a in ACTIONS}
    for action in ACTIONS:
        for seed in range(10, 16):
            mine = course(seed, action)
            assert min(means, key=lambda a: float(np.linalg.norm(mine - means[a]))) == action


def test_looks_do_not_tell_the_action() -> None:
    """The mean colour of a video's frames is no nearer to its own action's than chance has it."""
    colours, names = [], []
    for action in ("pitch", "sit_up", "front_kick"):
        for seed in range(12):
            rng = np.random.default_rng((seed, len(action)))
            made = sample_video(rng, action, size=(32, 32), fps=(5.0,))
            colours.append(made.pixels.mean((0, 1, 2)))
            names.append(action)
    far = np.linalg.norm(np.subtract.outer(colours, colours).diagonal(axis1=1, axis2=3), axis=2)
    np.fill_diagonal(far, np.inf)
    same = [names[near] == own for near, own in zip(far.argmin(1), names, strict=True)]
    assert np.mean(same) < 0.6


def test_the_tiny_world_is_files_with_their_labels(world: Path) -> None:
    manifest = Manifest.read(world)
    for action in manifest.actions():
        assert len(manifest.select(split="train", action=action)) >= 4
        assert len(manifest.select(split="test", action=action)) >= 2
    for entry in manifest:
        assert entry.name == f"{entry.split}/{entry.action}/{entry.path.name}"
        phases = ACTIONS[entry.action].phases
        assert entry.extra["phases"].split() == list(phases)
        assert entry.boundaries is not None
        assert len(entry.boundaries) == len(phases) - 1
        info = video.probe(entry.path)
        assert info.frames == entry.frames
        assert (info.height, info.width) == SMALL
        assert info.fps == pytest.approx(12, abs=0.01) or info.fps == pytest.approx(15, abs=0.01)
    assert 30 < np.mean([entry.frames for entry in manifest if entry.frames]) < 60


def test_the_files_show_the_sampled_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = [], worlds.sample_video
    monkeypatch.setattr(
        worlds, "sample_video", lambda *a, **k: made.append(real(*a, **k)) or made[-1]
    )
    manifest = Manifest.read(little(tmp_path, 2, split=0))
    for entry, one in zip(manifest, made, strict=True):
        assert entry.boundaries == tuple(one.boundaries)
        pixels = video.read(entry.path).pixels
        assert pixels.shape == one.pixels.shape
        assert np.abs(pixels.astype(int) - one.pixels).mean() < 12


def test_rendering_goes_on_where_it_was(tmp_path: Path) -> None:
    labels = little(tmp_path / "world")
    table = labels.read_bytes()
    entries = Manifest.read(labels).entries
    before = {entry.path: entry.path.stat().st_mtime_ns for entry in entries}
    lost = entries[2].path
    pixels = video.read(lost).pixels
    lost.unlink()
    labels.unlink()
    assert little(tmp_path / "world") == labels
    assert labels.read_bytes() == table
    kept = {path for path, when in before.items() if path.stat().st_mtime_ns == when}
    assert kept == set(before) - {lost}
    assert same_film(lost, pixels)

    more = Manifest.read(little(tmp_path / "world", videos=8))
    assert len(more) == 8
    assert {path for path, when in before.items() if path.stat().st_mtime_ns == when} == kept
    fresh = {entry.name: entry for entry in Manifest.read(little(tmp_path / "new", videos=8))}
    assert {e.name: (e.frames, e.boundaries) for e in more} == {
        name: (e.frames, e.boundaries) for name, e in fresh.items()
    }


def test_a_stopped_rendering_leaves_no_half_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = worlds.sample_video, []

    def stopped(*args: object, **settings: object) -> worlds.SyntheticVideo:
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return real(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(worlds, "sample_video", stopped)
    with pytest.raises(KeyboardInterrupt):
        little(tmp_path)
    assert not (tmp_path / "labels.csv").exists()
    done = sorted(tmp_path.rglob("*.mp4"))
    assert len(done) == 2
    assert all(video.probe(path).frames for path in done)


def test_processes_render_the_same_world(tmp_path: Path) -> None:
    alone, together = little(tmp_path / "1", 8), little(tmp_path / "2", 8, workers=2)
    assert alone.read_bytes() == together.read_bytes()
    for one, other in zip(Manifest.read(alone), Manifest.read(together), strict=True):
        assert same_film(one.path, video.read(other.path).pixels)


def test_other_settings_need_another_folder(tmp_path: Path) -> None:
    little(tmp_path, 2)
    for settings_ in ({"seed": 1}, {"size": (32, 32)}, {"variety": 0.5}):
        with pytest.raises(ConfigError, match="holds a world of other settings"):
            little(tmp_path, 2, **settings_)
    assert json.loads((tmp_path / "world.json").read_text())["seed"] == 0
    (tmp_path / "world.json").unlink()
    with pytest.raises(ConfigError, match="holds a world of other settings"):
        little(tmp_path, 2)  # videos of which nobody knows what they are


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for settings_, message in (
        ({"actions": ("dance",)}, "no action dance; choose from tennis_serve"),
        ({"actions": ()}, "at least one action"),
        ({"actions": ("pitch", "pitch")}, "each of them once"),
        ({"size": (33, 64)}, "even sides of 32 or more"),
        ({"fps": (1.0,)}, "rates of 5 or more"),
        ({"variety": 2.0}, "variety within 0..1"),
        ({"videos": 1}, "at least one video per action"),
        ({"split": 1.5}, "a share within 0..1"),
    ):
        with pytest.raises(ConfigError, match=message):
            little(tmp_path, **{"videos": 4, **settings_})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no action dance"):
        sample_video(rng, "dance")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        little(tmp_path / "file")
    assert not list(tmp_path.rglob("*.mp4"))
