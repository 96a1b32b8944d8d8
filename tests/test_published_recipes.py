"""Trainings as the papers describe them: their numbers, and that they run, made small."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marey import published_recipes
from marey.checkpoint import load_tensors
from marey.config import ClipEncoderConfig, EncoderConfig, MclConfig, Recipe
from marey.errors import ConfigError
from marey.manifest import Manifest
from marey.methods import build
from marey.recipes import RECIPES
from marey.reproduction.studies import STUDIES
from marey.training import train

PUBLISHED = [
    "carl_penn", "carl_pouring", "carl_finegym", "carl_kinetics", "tcc_penn", "tcn_penn",
    "lav_penn", "sal_penn", "mcl_ucf101", "mcl_kinetics",
]  # fmt: skip


def small(recipe: Recipe) -> Recipe:
    """The same structure, in seconds: fewer pixels, frames and weights."""
    method, encoder = recipe.method, recipe.encoder
    if isinstance(encoder, EncoderConfig):
        encoder = replace(
            encoder, backbone="resnet18", weights="random", size=32, hidden=32, width=32, heads=4,
            feedforward=32, dimension=16,
        )  # fmt: skip
        method = replace(method, frames=min(method.frames, 12))
    else:
        encoder = replace(encoder, backbone="r2plus1d_small", size=32, hidden=16, dimension=16)
        assert isinstance(method, MclConfig)
        method = replace(method, length=8, stride=1, queue=64)
    data = replace(recipe.data, steps=3, epochs=0, videos=min(recipe.data.videos, 4), shortest=1)
    return replace(recipe, method=method, encoder=encoder, data=replace(data, workers=0))


def test_all_have_a_name() -> None:
    for name in PUBLISHED:
        assert RECIPES[name] is getattr(published_recipes, name)
        assert "ublished" in (RECIPES[name].__doc__ or "")
        text = " ".join((RECIPES[name].__doc__ or "").split())
        assert re.search(r"Hours: (some )?\d[\w, ]*, on two CPU cores", text)
        study = f"marey reproduce {name.replace('_', '-')} --data ROOT --weights"
        assert study in text or f"`marey train {name} TABLE --split train --encoder.w" in text
        assert (name.replace("_", "-") in STUDIES) == (study in text)


@pytest.mark.parametrize("name", PUBLISHED)
def test_three_steps_change_what_is_trained_and_nothing_else(
    name: str, world: Path, tmp_path: Path
) -> None:
    recipe = small(RECIPES[name]())
    videos = Manifest.read(world).select(split="train")
    done = train(videos, tmp_path / "run", recipe)
    assert done.steps == 3
    assert np.isfinite(done.loss)
    before = build(recipe).state_dict()
    after = load_tensors(done.run / "checkpoint" / "model.safetensors")
    moved = {key for key in before if not before[key].equal(after[key])}
    if isinstance(recipe.encoder, EncoderConfig):
        backbone = {key for key in moved if key.startswith("encoder.backbone.")}
        assert backbone
        assert all(key.startswith("encoder.backbone.layer4.") for key in backbone)
    assert any("weight" in key for key in moved)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if not name.startswith("mcl")])
def test_nothing_is_trained_from_weights_that_are_not_named(name: str) -> None:
    with pytest.raises(ConfigError, match="No package brings weights of resnet50"):
        build(RECIPES[name]())


def test_the_numbers_of_carl() -> None:
    rows = {}
    for name in PUBLISHED[:4]:
        r = RECIPES[name]()
        assert isinstance(r.encoder, EncoderConfig)
        assert (r.encoder.backbone, r.encoder.frozen, r.encoder.size) == ("resnet50", "layer3", 224)
        assert (r.encoder.position, r.encoder.pool, r.encoder.dimension) == ("absolute", "max", 128)
        assert (r.optimizer.name, r.optimizer.lr, r.optimizer.weight_decay) == ("adam", 1e-4, 1e-5)
        assert (r.optimizer.clip, r.optimizer.warmup, r.data.copies) == (10, 0, 0)
        rows[name] = (r.method.frames, r.data.epochs, r.encoder.layers, r.data.videos)  # type: ignore[union-attr]
    assert rows == {
        "carl_penn": (80, 300, 3, 1),
        "carl_pouring": (240, 500, 2, 1),
        "carl_finegym": (240, 300, 3, 1),
        "carl_kinetics": (80, 10, 2, 2),
    }


def test_comparisons_differ_from_carl_in_method_and_step_alone() -> None:
    carl = RECIPES["carl_penn"]()
    for name in ("tcc_penn", "tcn_penn", "lav_penn", "sal_penn"):
        recipe = RECIPES[name]()
        assert recipe.method.name == name.removesuffix("_penn")
        step = {"videos": 1, "together": 1}
        assert replace(recipe, method=carl.method, data=replace(recipe.data, **step)) == carl


def test_the_numbers_of_mcl() -> None:
    ucf, kinetics = RECIPES["mcl_ucf101"](), RECIPES["mcl_kinetics"]()
    for r in (ucf, kinetics):
        assert isinstance(r.encoder, ClipEncoderConfig)
        assert isinstance(r.method, MclConfig)
        assert (r.encoder.backbone, r.encoder.size) == ("r2plus1d_50", 224)
        assert (r.method.length, r.method.stride, r.method.queue) == (16, 2, 131_072)
        assert (r.optimizer.name, r.optimizer.momentum, r.optimizer.weight_decay) == (
            "sgd", 0.9, 1e-4,
        )  # fmt: skip
        assert r.data.videos == 8
        assert round(r.optimizer.warmup * r.data.epochs, 6) == 5
    assert (ucf.optimizer.lr, ucf.data.epochs, ucf.data.shortest) == (0.01, 200, 64)
    assert (kinetics.optimizer.lr, kinetics.data.epochs) == (0.02, 400)
    assert (kinetics.method.window, kinetics.method.order) == (4, 0)  # type: ignore[union-attr]
