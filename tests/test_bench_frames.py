"""The bench of frame recipes: its rows, and the features that all its runs share."""

from __future__ import annotations

import json
import math
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from marey import device, recipes
from marey.bench import cells, frames
from marey.bench.cells import commit
from marey.bench.frames import bench_frames
from marey.cli import main
from marey.config import EncoderConfig, Recipe
from marey.embedding import Model
from marey.errors import ConfigError, ManifestError, TrainingError
from marey.evaluation import feature_store
from marey.evaluation.feature_store import FeatureStore
from marey.evaluation.protocol import evaluate
from marey.evaluation.scores import Row, Scores
from marey.manifest import Manifest
from marey.methods import build
from marey.recipes import carl_tiny, tcc_tiny
from marey.training import train
from marey.types import VideoInfo
from marey.video import probe

extract = feature_store.extract


@pytest.fixture(scope="module")
def few(world: Path) -> Path:
    """Eight videos of two actions, four to learn from."""
    videos, chosen = Manifest.read(world), []
    for action in videos.actions():
        chosen += videos.select(split="train", action=action).entries[:2]
        chosen += videos.select(split="test", action=action).entries[:2]
    table = world.with_name("few-frames.csv")
    Manifest(tuple(chosen)).write(table)
    return table


def _quick(recipe: Recipe, **encoder: str) -> Recipe:
    assert isinstance(recipe.encoder, EncoderConfig)
    data = replace(recipe.data, videos=4, copies=1)
    return replace(recipe, data=data, encoder=replace(recipe.encoder, **encoder))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes behind three encoders that see two kinds of features."""
    made = {
        "clocked": lambda: _quick(carl_tiny(), position="absolute", pool="max"),
        "seeing": lambda: _quick(carl_tiny(), pool="max"),
        "cycling": lambda: _quick(tcc_tiny(), pool="max"),
        "placed": lambda: _quick(carl_tiny()),
    }
    for name, recipe in made.items():
        monkeypatch.setitem(recipes.RECIPES, name, recipe)


@pytest.mark.usefixtures("quick")
def test_every_recipe_stands_beside_clock_frozen_and_untrained(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[Path, str]] = []

    def watch(method: Model, info: VideoInfo, where: torch.device) -> Tensor:
        seen.append((info.path, method.recipe.encoder.pool))
        return extract(method, info, where)

    monkeypatch.setattr(feature_store, "extract", watch)
    names = ["seeing", "cycling", "placed"]
    command = ["bench", "frames", str(few), "--out", str(tmp_path), "--recipes", *names]
    command += ["--seeds", "0", "--steps", "2", "--size", "32"]
    main(command)
    data = json.loads((tmp_path / "table.json").read_text())
    assert not data["failed"]
    for table in ("whole", "shifted"):
        rows = data["tables"][table]
        assert list(rows) == [
            "clock",
            "frozen, max pooling",
            "frozen, grid pooling",
            "untrained, rotary positions, max pooling",
            "untrained, rotary positions, grid pooling",
            *names,
        ]
        assert all(found["ap5"]["n"] == 1 for found in rows.values())
    assert data["tables"]["whole"]["clock"]["tau"]["mean"] > 0.99
    # of every video each kind of features once, for five networks
    videos = [entry.path for entry in Manifest.read(few)]
    assert Counter(seen) == Counter((path, pool) for path in videos for pool in ("max", "grid"))
    assert "Told which videos show one action: cycling." in data["notes"]
    assert "squat_press" in (tmp_path / "scores" / "seeing-0.csv").read_text()
    first = capsys.readouterr().out
    assert "Whole videos" in first
    assert "Shifted videos" in first
    main(command)
    assert capsys.readouterr().out == first
    assert len(seen) == 16


@pytest.mark.usefixtures("quick")
def test_what_knows_no_seed_is_scored_once(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(model: Model, labels: Path, *, baselines: Iterable[str], **more: object) -> Scores:
        weights = sum(float(p.detach().sum()) for p in model.method.parameters())
        values = {"clock": 0.5, "frozen": math.nan, "own": weights}
        names = [*baselines, "own"]
        rows = [Row(n, shifted, "", {"tau": values[n]}) for n in names for shifted in (False, True)]
        return Scores(tuple(rows), (("a.mp4", "gone."),), str(model.run), str(labels))

    monkeypatch.setattr(frames, "evaluate", score)
    done = bench_frames(few, tmp_path, recipes=("clocked",), seeds=(0, 1), steps=0, size=32)
    untrained = "untrained, absolute positions, max pooling"
    counts = {row: len(done.spread("whole", row, "tau").values) for row in done.sheets[0].rows}
    assert counts == {"clock": 1, "frozen, max pooling": 1, untrained: 2, "clocked": 2}
    # with no step taken, both are the same networks, of another start for each seed
    found = done.spread("shifted", "clocked", "tau")
    assert found == done.spread("shifted", untrained, "tau")
    assert found.sd > 0
    text = (tmp_path / "table.md").read_text()
    assert "| frozen, max pooling (n = 1) | - |" in text
    assert text.count("- a.mp4: gone.") == 1
    again = bench_frames(few, tmp_path, recipes=("clocked",), seeds=(0, 1), steps=0, size=32)
    assert again.markdown() == done.markdown()
    # another first seed, whose untrained network was scored without them
    turned = bench_frames(few, tmp_path, recipes=("clocked",), seeds=(1, 0), steps=0, size=32)
    assert turned.spread("whole", "clock", "tau").values == (0.5,)
    assert len(turned.spread("whole", untrained, "tau").values) == 2
    # a score of a version that did not have this setting yet
    old = tmp_path / "scores" / "clocked-1.json"
    data = json.loads(old.read_text())
    del data["settings"]["recipe"]["encoder"]["hidden_layers"]
    old.write_text(json.dumps(data))
    again = bench_frames(few, tmp_path, recipes=("clocked",), seeds=(0, 1), steps=0, size=32)
    assert again.spread("shifted", "clocked", "tau") == found
    with pytest.raises(ConfigError, match="other settings"):
        bench_frames(few, tmp_path, recipes=("clocked",), seeds=(0,), steps=0, size=32, stride=3)


@pytest.mark.usefixtures("quick")
def test_equal_titles_are_told_apart_by_the_recipe(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **more: object) -> None:
        raise TrainingError("that is enough")

    monkeypatch.setattr(cells, "train", fail)
    random = _quick(carl_tiny(), pool="max", weights="random")
    monkeypatch.setitem(recipes.RECIPES, "learning", lambda: random)
    done = bench_frames(few, tmp_path, recipes=("seeing", "learning"), seeds=(0,))
    assert list(done.sheets[0].rows) == [
        "clock",
        "frozen, max pooling",
        "frozen, max pooling (learning)",
        "untrained, rotary positions, max pooling",
        "untrained, rotary positions, max pooling (learning)",
        "seeing",
        "learning",
    ]


def test_what_cannot_be_benched_is_said_at_once(few: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mcl embeds clips"):
        bench_frames(few, tmp_path, recipes=("carl", "mcl"))
    with pytest.raises(ConfigError, match="no recipe 'karl'"):
        bench_frames(few, tmp_path, recipes=("karl",))
    with pytest.raises(ConfigError, match="at least one seed and one recipe"):
        bench_frames(few, tmp_path, recipes=())
    table = few.with_name("learned.csv")
    Manifest.read(few).select(split="train").write(table)
    with pytest.raises(ManifestError, match="of another one to score"):
        bench_frames(table, tmp_path)
    assert not list(tmp_path.iterdir())


def test_kept_features_score_the_same(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # whether compiling pays is measured, and compiled code differs in the last digits
    monkeypatch.setattr(device, "can_compile", lambda where=None: (False, "not in this test"))
    recipe = _quick(carl_tiny())
    recipe = replace(recipe, data=replace(recipe.data, steps=0))
    model = Model(train(few, tmp_path / "run", recipe).run)
    cache = tmp_path / "cache"
    plain = evaluate(model, few, baselines=False)
    filled = evaluate(model, few, baselines=False, cache=cache)
    kept = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    again = evaluate(model, few, baselines=("clock",), cache=cache)
    assert again.embeddings == ["clock", "carl"]
    assert plain.rows == filled.rows == again.rows[len(plain.rows) :]
    assert len(kept) == 8
    assert kept == {path: path.stat().st_mtime_ns for path in cache.iterdir()}


def test_other_weights_and_other_looks_keep_their_own(few: Path, tmp_path: Path) -> None:
    info = probe(Manifest.read(few).entries[0].path)
    where, base = torch.device("cpu"), _quick(carl_tiny(), weights="random")
    assert isinstance(base.encoder, EncoderConfig)
    made = {
        "base": base,
        "seed": replace(base, seed=1),
        "size": replace(base, encoder=replace(base.encoder, size=32)),
        "pool": replace(base, encoder=replace(base.encoder, pool="max")),
    }
    for number, recipe in enumerate(made.values(), 1):
        FeatureStore(tmp_path, build(recipe), where).of(info)
        assert len(list(tmp_path.iterdir())) == number
    # what comes after the backbone does not matter
    deeper = replace(base, encoder=replace(base.encoder, layers=2, position="absolute"))
    assert FeatureStore(tmp_path, build(deeper), where).holds(info)


def test_the_commit_is_that_of_the_checkout() -> None:
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    head = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert head.stdout.startswith(commit().removesuffix("-dirty"))
