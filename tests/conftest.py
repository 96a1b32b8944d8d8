"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[2] / "shared"


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
