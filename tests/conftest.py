"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

# several test processes share the cores: threads that spin while they wait would starve the others
os.environ["OMP_WAIT_POLICY"] = "passive"

import pytest
from hypothesis import settings

# continuous integration tries the same examples every time; at a desk every run tries new ones
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

REFERENCE = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def _eager() -> None:
    """Whether compiling pays is measured; on a loaded machine it might seem to, and the features
    of one test would then not be those of the next."""
    from marey.models import trunk

    trunk._COMPILING_PAYS.update(cpu=3600.0)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is left in the user's cache folder, and nothing taken from it."""
    os.environ["MAREY_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data (`golden/`, `data/`) beside the checkout; skips where absent."""
    if not (REFERENCE / "golden").is_dir():
        pytest.skip("the reference data that these values come from is not beside this checkout")
    return REFERENCE


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The labels of a tiny world of rendered videos, with phases known exactly."""
    from marey.synthetic.world import tiny_world

    return tiny_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder after a few steps on the tiny world."""
    from dataclasses import replace

    from marey.manifest import Manifest
    from marey.recipes import carl_tiny
    from marey.training import train

    recipe = carl_tiny()
    recipe = replace(recipe, data=replace(recipe.data, steps=5, copies=2))
    videos = Manifest.read(world).select(split="train")
    return train(videos, tmp_path_factory.mktemp("runs") / "run", recipe).run
