"""The script behind docs/clock.md, on a tiny world; and what the page states as fact."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from marey.evaluation.frames import kendalls_tau
from marey.methods import build

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def clock() -> ModuleType:
    """The module, which imports its neighbours by their bare names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("clock")


def flat(clock: ModuleType, frames: int, phases: int = 3) -> Any:
    """A video of so many frames with ten random features."""
    rng = np.random.default_rng(frames)
    features = torch.from_numpy(rng.standard_normal((2, frames, 10), dtype=np.float32))
    labels = np.arange(frames) * phases // frames
    return clock.Video("a", features, labels, labels / 1.0, slice(0, frames))


def test_it_measures_and_draws(clock: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (clock, sys.modules["clock_world"]):
        monkeypatch.setattr(module, "ACTIONS", ("golf_swing",))
    monkeypatch.setattr(clock, "LAST", 2)
    scale = clock.Scale(train=2, test=2, copies=1, steps=3, long=40, short=8, side=32)
    found = clock.measure(scale, seed=0)
    # what needs no training is there at any scale: the untrained network with absolute positions
    # tells the time of noise, the one with relative positions does not
    places = {(name, shown): value for name, shown, value in found.places}
    assert places["untrained, absolute", "noise"] > 0.8
    assert places["untrained, rotary", "noise"] < 0.2
    for position, least, most in (("absolute", 0.8, 1.0), ("rotary", -1.0, 0.5)):
        tau = kendalls_tau(found.noise[position], stride=1)
        assert least < tau <= most
    tables = clock.tables(found)
    assert all(f"| {name} |" in tables for name in (*found.scores, *(p[0] for p in found.places)))
    drawing = ElementTree.fromstring(clock.picture(found))
    words = " ".join("".join(text.itertext()) for text in drawing.iter() if text.text)
    assert "Two videos of noise" in words
    assert "trained, relative" in words


@pytest.mark.parametrize("frames", [12, 40])
def test_a_still_video_has_one_place_only_where_positions_are_relative(
    clock: ModuleType, frames: int
) -> None:
    still = torch.randn(1, 2792, generator=torch.Generator().manual_seed(0)).expand(frames, -1)
    for position in clock.POSITIONS:
        method = build(clock.recipe(position, 40, 32, seed=3)).eval()
        rows = clock.embed(method, still)
        spread = np.abs(rows - rows[0]).max()
        assert (spread < 1e-5) == (position == "rotary"), position


def test_the_loss_of_one_who_knows_nothing(clock: ModuleType) -> None:
    videos = [flat(clock, 9), flat(clock, 30)]
    settings = clock.recipe("rotary", 12, 32, seed=1)
    batch = clock.views(settings, videos, clock.frames_of, 0)
    every = []
    for times, valid in zip(batch.index.numpy(), batch.valid.numpy(), strict=True):
        for a, b in ((0, 1), (1, 0)):
            for i in times[a][valid[a]]:
                near = np.exp(-((i - times[b][valid[b]]) ** 2) / 20.0)
                p = near / near.sum()
                q = 1 / len(p)
                every.append(sum(x * (np.log(x) - np.log(q + 1e-6)) for x in p if x > 0))
    assert clock.knows_nothing(settings, videos, steps=1) == pytest.approx(np.mean(every), rel=1e-4)


def test_a_step_sees_the_same_again(clock: ModuleType) -> None:
    videos = [flat(clock, n) for n in (9, 20, 30)]
    settings = clock.recipe("absolute", 12, 32, seed=1)
    look = clock.noise_like(videos)
    first, again, other = (clock.views(settings, videos, look, step) for step in (5, 5, 6))
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.index, again.index)
    assert not torch.equal(first.inputs, other.inputs)
    # noise is drawn anew for either view, or it could be recognised
    assert not torch.equal(first.inputs[:, 0], first.inputs[:, 1])


def test_shuffled_frames_are_the_frames(clock: ModuleType) -> None:
    video = flat(clock, 20)
    seen = clock.shuffled(video, np.arange(20), np.random.default_rng(0))
    assert not torch.equal(seen, video.features[0])
    assert torch.equal(seen.sort(0).values, video.features[0].sort(0).values)
