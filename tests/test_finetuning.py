"""Fine-tuning a run of clips on labelled videos."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from marey import checkpoint
from marey.cli import main
from marey.config import ClassifierConfig, MclConfig, Recipe, from_dict, to_dict
from marey.embedding import embed
from marey.errors import CheckpointError, ConfigError, ManifestError
from marey.evaluation.clips import evaluate_clips
from marey.finetuning import finetune
from marey.manifest import Entry, Manifest
from marey.methods import find
from marey.methods.classifier import Classifier
from marey.recipes import mcl_tiny
from marey.training import train
from marey.video import probe, write


@pytest.fixture(scope="module")
def lights(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Videos of which the left or the right half is lit; one that is none; one without action."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("lights")
    entries = []
    for i in range(12):
        pixels = rng.integers(0, 60, (12 + i, 48, 56, 3), dtype=np.uint8)
        pixels[:, :24] += 180 * (i % 2)
        path = folder / f"{i:02d}.mp4"
        write(path, pixels, 12.0)
        action = ("dark", "lit")[i % 2]
        entries.append(Entry(path.name, path, "train" if i < 8 else "test", action))
    (folder / "notes.mp4").write_text("no video")
    entries.append(Entry("notes.mp4", folder / "notes.mp4", "test", "lit"))
    return Manifest((*entries[1:], replace(entries[0], action="")))


@pytest.fixture(scope="module")
def clip_run(lights: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of clip embeddings after two steps."""
    recipe = mcl_tiny()
    recipe = replace(
        recipe,
        encoder=replace(recipe.encoder, size=32),
        data=replace(recipe.data, steps=2, videos=4, workers=0),
    )
    videos = [entry.path for entry in lights.select(split="train")]
    return train(videos, tmp_path_factory.mktemp("runs") / "run", recipe).run


def test_a_classifier_starts_from_the_network_of_the_run(
    clip_run: Path, lights: Manifest, tmp_path: Path
) -> None:
    finetune(clip_run, lights, tmp_path / "run", epochs=1, lr=0)
    was = checkpoint.load_method(clip_run).state_dict()
    now = checkpoint.load_method(tmp_path / "run").state_dict()
    backbone = [name for name in now if name.startswith("encoder.backbone.")]
    assert set(now) == {*backbone, "layer.weight", "layer.bias"}
    weights = [name for name in backbone if "running" not in name and "tracked" not in name]
    assert weights
    for name in weights:
        assert torch.equal(was[name], now[name]), name


def test_it_learns_and_is_scored_beside_chance(
    clip_run: Path, lights: Manifest, tmp_path: Path
) -> None:
    done = finetune(clip_run, lights, tmp_path / "run", epochs=20, lr=0.02)
    assert done.accuracy == 1
    assert done.chance == 0.5
    assert done.videos == 4
    assert [name for name, _ in done.left_out] == ["notes.mp4"]
    state = tmp_path / "run" / "checkpoint" / "state.json"
    before = state.stat().st_mtime_ns
    again = finetune(clip_run, lights, tmp_path / "run", epochs=20, lr=0.02)
    assert (again.steps, again.accuracy) == (done.steps, 1)
    assert state.stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="other settings"):
        finetune(clip_run, lights, tmp_path / "run", epochs=20, lr=0.03)

    # what it made is a run of clips like any other
    (one,) = embed(tmp_path / "run", [lights.entries[0].path])
    np.testing.assert_allclose(np.linalg.norm(one.vectors, axis=1), 1, atol=1e-5)
    scores = evaluate_clips(tmp_path / "run", lights, clips=2)
    assert scores.embeddings == ["chance", "frozen", "untrained", "classifier"]
    assert scores.mean("classifier", "svm") == 1
    assert finetune(tmp_path / "run", lights, tmp_path / "twice", epochs=1, lr=0).videos == 4


def test_stopped_it_goes_on_exactly(
    clip_run: Path, lights: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(clip_run, lights, tmp_path / "whole", epochs=2)
    steps: list[int] = []

    def after_step(self: Classifier) -> None:
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Classifier, "after_step", after_step)
    with pytest.raises(KeyboardInterrupt):
        finetune(clip_run, lights, tmp_path / "parts", epochs=2)
    assert len(steps) == 2
    finetune(clip_run, lights, tmp_path / "parts", epochs=2)
    whole, parts = (
        checkpoint.load_tensors(tmp_path / name / "checkpoint" / "model.safetensors")
        for name in ("whole", "parts")
    )
    assert len(steps) == 4
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_on_the_command_line(
    clip_run: Path, lights: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, tuned = tmp_path / "labels.csv", tmp_path / "run"
    lights.write(labels)
    main(["eval", str(clip_run), str(labels), "--clips", "2", "--out", str(tmp_path / "s.md")])
    text = capsys.readouterr().out
    assert all(word in text for word in ("chance", "frozen", "mcl", "R@50"))
    assert "| chance |" in (tmp_path / "s.md").read_text()
    main(["finetune", str(clip_run), str(labels), "--out", str(tuned), "--epochs", "1"])
    said = capsys.readouterr()
    assert "on 4 videos (chance 0.500)" in said.out
    assert "notes.mp4" in said.err
    main(["eval", str(tuned), str(labels), "--clips", "1", "--folds", "split"])
    assert "2 folds" in capsys.readouterr().out


def test_the_recipe_survives_its_file() -> None:
    recipe = replace(
        mcl_tiny(), method=ClassifierConfig(base=MclConfig(length=8), actions=("a", "b", "c"))
    )
    assert from_dict(Recipe, json.loads(json.dumps(to_dict(recipe)))) == recipe


def test_a_step_looks_at_one_clip_anywhere(lights: Manifest) -> None:
    recipe = replace(mcl_tiny(), method=ClassifierConfig(base=MclConfig(length=4, stride=2)))
    info = probe(lights.entries[5].path)
    starts = set()
    for seed in range(200):
        (view,) = find(recipe).views(recipe, info, np.random.default_rng(seed))
        assert (np.diff(view.index) == 2).all()
        starts.add(int(view.index[0]))
    assert len(starts) > 8
    assert min(starts) == 0
    assert max(starts) + 8 <= info.frames


def test_what_cannot_be_fine_tuned_is_told_in_a_sentence(
    run: Path, clip_run: Path, lights: Manifest, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="embeds frames"):
        finetune(run, lights, tmp_path / "run")
    with pytest.raises(CheckpointError, match="no run folder"):
        finetune(tmp_path / "none", lights, tmp_path / "run")
    checkpoint.write_run(tmp_path / "young", mcl_tiny(), {})
    with pytest.raises(CheckpointError, match="has not reached its first checkpoint"):
        finetune(tmp_path / "young", lights, tmp_path / "run")
    for some in (lights.select(split="train"), lights.select(action="lit")):
        with pytest.raises(ManifestError, match="at least two actions"):
            finetune(clip_run, some, tmp_path / "run")
    assert not (tmp_path / "run").exists()
