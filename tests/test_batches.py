"""Batches of pixels: decoded and augmented by other processes or by this one, they are the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from marey.batches import PixelSteps, pixel_batches
from marey.config import Recipe
from marey.data import Corpus, Stores, survey
from marey.distributed import Rank
from marey.errors import TrainingError
from marey.manifest import Manifest
from marey.methods import find
from marey.recipes import carl_tiny, mcl_tiny
from marey.types import Batch

CPU = torch.device("cpu")


@pytest.fixture
def corpus(world: Path) -> Corpus:
    return survey(Manifest.of([entry.path for entry in Manifest.read(world)][:3]))


def recipe_with(make: Callable[[], Recipe], workers: int) -> Recipe:
    recipe = make()
    return replace(recipe, data=replace(recipe.data, videos=2, copies=0, workers=workers))


def batches(recipe: Recipe, corpus: Corpus, folder: Path, dtype: torch.dtype) -> list[Batch]:
    stores = Stores.of(recipe, folder)
    found = []
    for batch, left_out in pixel_batches(
        recipe, corpus, stores, range(3), Rank(), CPU, dtype, total=3
    ):
        assert batch is not None
        assert not left_out
        found.append(batch)
    return found


@pytest.mark.parametrize("make", [carl_tiny, mcl_tiny])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_workers_change_nothing(
    make: Callable[[], Recipe], dtype: torch.dtype, corpus: Corpus, tmp_path: Path
) -> None:
    here, there = (
        batches(recipe_with(make, workers), corpus, tmp_path, dtype) for workers in (0, 2)
    )
    assert len(here) == len(there) == 3
    for one, other in zip(here, there, strict=True):
        assert one.inputs.dtype == dtype
        assert one.inputs.flatten(0, 2).is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.index, other.index)
        assert one.videos == other.videos


def test_workers_of_a_cpu_augment(corpus: Corpus, tmp_path: Path) -> None:
    recipe = recipe_with(carl_tiny, 0)
    stores = Stores.of(recipe, tmp_path)
    raw, ready = (PixelSteps(recipe, corpus, stores, 0, 1, t)[1] for t in (None, torch.float32))
    assert isinstance(raw.pixels, list)
    assert all(clip.dtype == torch.uint8 for clip in raw.pixels)
    assert isinstance(ready.pixels, torch.Tensor)
    assert torch.equal(raw.augmented(recipe.encoder.size, torch.float32, CPU), ready.pixels)


def test_a_killed_worker_is_said(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_with(carl_tiny, 1)
    here = os.getpid()

    def views(*_: object) -> None:
        assert os.getpid() != here
        os._exit(9)

    monkeypatch.setattr(find(recipe), "views", views)
    with pytest.raises(TrainingError, match=r"was killed .* --data\.workers 0"):
        batches(recipe, corpus, tmp_path, torch.float32)
