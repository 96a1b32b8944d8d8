"""Rows of videos that are longer than what a network was trained on, in overlapping windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marey.config import EncoderConfig, Recipe
from marey.embedding import vectors
from marey.methods import build, find
from marey.methods.base import Method
from marey.models.transformer import Position
from marey.recipes import RECIPES
from marey.types import F32
from marey.units import windows

CPU = torch.device("cpu")


def recipe_of(name: str, position: Position | None) -> Recipe:
    recipe = RECIPES[name]()
    if position is None:
        return recipe
    assert isinstance(recipe.encoder, EncoderConfig)
    return replace(recipe, encoder=replace(recipe.encoder, position=position))


def network(name: str, position: Position | None = None) -> Method:
    recipe = recipe_of(name, position)
    torch.manual_seed(0)
    return build(recipe).eval()


def some_features(method: Method, rows: int) -> Tensor:
    return torch.randn(rows, method.width, generator=torch.Generator().manual_seed(1))


def embedded(method: Method, features: Tensor) -> F32:
    return vectors(method, features, np.arange(len(features)), CPU)


@given(rows=st.integers(1, 500), length=st.integers(1, 100))
def test_windows_cover_all_rows(rows: int, length: int) -> None:
    starts = windows(rows, length)
    assert starts[0] == 0
    assert starts[-1] == max(rows - length, 0)
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps[:-1] == max(1, length // 4)).all()
    assert (steps <= max(1, length // 4)).all()


@pytest.mark.parametrize(
    ("name", "position", "context"),
    [("rotary", None, 120), ("marey", None, 60), ("carl", None, None), ("tcc_tiny", None, None),
     ("marey", "absolute", None), ("marey", "released", None), ("mcl", None, 1)],
)  # fmt: skip
def test_context_is_what_views_show(
    name: str, position: Position | None, context: int | None
) -> None:
    recipe = recipe_of(name, position)
    assert find(recipe).context(recipe) == context


@settings(max_examples=15, deadline=None)
@given(beyond=st.integers(-5, 150), cut=st.integers(1, 200))
def test_windows_against_a_slow_twin(beyond: int, cut: int) -> None:
    """Also however the rows arrive in parts."""
    from marey.embedding import _related

    method = network("demo")
    length = type(method).context(method.recipe)
    assert length is not None
    rows = length + beyond
    features = some_features(method, rows)
    with torch.no_grad():
        condensed = method.condense(features)
        total = np.zeros((rows, method.recipe.encoder.dimension))
        start, last = 0, max(0, rows - length)
        while True:
            inside = range(start, min(start + length, rows))
            seen = method.relate(condensed[None, inside], torch.tensor(inside)[None])[0].numpy()
            for place, row in enumerate(inside):
                total[row] += min(place + 1, len(inside) - place) * seen[place]
            if start == last:
                break
            start = min(start + length // 4, last)
    twin = total / np.linalg.norm(total, axis=1, keepdims=True)
    np.testing.assert_allclose(embedded(method, features), twin, atol=1e-5)
    parts = _related(method, condensed.split(cut), np.arange(rows), CPU)
    np.testing.assert_allclose(parts, twin, atol=1e-5)


def test_a_short_video_is_seen_at_once() -> None:
    method = network("demo")
    length = type(method).context(method.recipe)
    features = some_features(method, length or 0)
    with torch.no_grad():
        whole = method.encode(features[None], torch.arange(len(features))[None])[0].numpy()
    np.testing.assert_allclose(embedded(method, features), whole, atol=1e-6)


@pytest.mark.parametrize(("position", "far"), [("rotary", False), ("absolute", True)])
def test_what_is_far_away_does_not_count(position: Position, far: bool) -> None:
    method = network("demo", position)
    features = some_features(method, 400)
    other = torch.cat([features[:200], -features[200:]])
    one, two = embedded(method, features), embedded(method, other)
    assert np.array_equal(one[:100], two[:100]) != far
    assert not np.array_equal(one[150:200], two[150:200])


def test_a_moment_is_the_same_wherever_it_lies() -> None:
    """In a long video of repetitions, each gets the same vectors."""
    method = network("demo")
    once = some_features(method, 150)
    length = type(method).context(method.recipe)
    assert length is not None
    step = length // 4
    shift = 10 * step  # so that windows lie the same way
    long = torch.cat([some_features(method, shift), once, some_features(method, 200)])
    alone, within = embedded(method, once), embedded(method, long)[shift : shift + 150]
    np.testing.assert_allclose(
        alone[length : 150 - length], within[length : 150 - length], atol=1e-5
    )
