"""Scores of one vector per video: what the metrics say, and how the vectors come about."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marey import checkpoint, data
from marey.augment import plain
from marey.errors import ConfigError, ManifestError, ShapeError
from marey.evaluation import clip_metrics, clips
from marey.evaluation.clip_metrics import RANKS, chance, most_similar, score_clips
from marey.evaluation.clips import evaluate_clips
from marey.manifest import Entry, Manifest
from marey.methods.base import Method, spread
from marey.recipes import carl_tiny
from marey.types import I64
from marey.video import probe, read, write

METRICS = ["svm", "linear", "knn", "r1", "r5", "r10", "r20", "r50"]


def clusters(
    rng: np.random.Generator, videos: int, apart: float
) -> tuple[np.ndarray, list[str], np.ndarray, list[str]]:
    centres = apart * rng.normal(size=(4, 16))
    labels = rng.integers(4, size=2 * videos)
    labels[:4] = labels[-4:] = np.arange(4)
    vectors = centres[labels] + rng.normal(size=(2 * videos, 16))
    names = [f"action {label}" for label in labels]
    return vectors[:videos], names[:videos], vectors[videos:], names[videos:]


@pytest.mark.parametrize("seed", range(3))
def test_actions_that_lie_apart_are_told_apart(seed: int) -> None:
    found = score_clips(*clusters(np.random.default_rng(seed), 60, apart=8))
    assert found == dict.fromkeys(METRICS, 1.0)


def test_vectors_that_know_nothing_score_as_chance() -> None:
    train, known, test, asked = clusters(np.random.default_rng(0), 1500, apart=0)
    found, guessed = score_clips(train, known, test, asked), chance(known, asked)
    assert list(found) == list(guessed) == METRICS
    for metric in METRICS:
        assert found[metric] == pytest.approx(guessed[metric], abs=0.05), metric


def test_retrieval_and_neighbours_equal_a_slow_loop() -> None:
    train, known, test, asked = clusters(np.random.default_rng(1), 40, apart=0.3)
    asked[0] = "never seen"
    hits, right = dict.fromkeys(RANKS, 0), 0
    for vector, action in zip(test, asked, strict=True):
        similar = [float(vector @ t / np.linalg.norm(vector) / np.linalg.norm(t)) for t in train]
        best = sorted(range(len(train)), key=lambda i: -similar[i])
        for k in RANKS:
            hits[k] += action in [known[i] for i in best[:k]]
        votes: dict[str, float] = {}
        for i in best[:5]:
            votes[known[i]] = votes.get(known[i], 0) + np.exp(similar[i] / 0.07)
        right += max(votes, key=lambda name: votes[name]) == action
    found = score_clips(train, known, test, asked)
    assert found["knn"] == pytest.approx(right / len(test))
    for k in RANKS:
        assert found[f"r{k}"] == pytest.approx(hits[k] / len(test)), k
    assert found["r50"] < 1  # the gallery has 40 videos, and none of the action asked for


def sorted_at_once(
    train: np.ndarray, test: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The plain twin of `most_similar`: all similarities in float64, and all of them sorted."""
    norms = [np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test)]
    train, test = (x / np.where(n > 0, n, 1) for x, n in zip((train, test), norms, strict=True))
    similarity = test @ train.T
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    return order, similarity


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    sizes=st.tuples(st.integers(1, 90), st.integers(1, 20), st.integers(1, 6)),
    count=st.integers(1, 60),
    block=st.sampled_from([1, 700, 2**24]),
    spread=st.sampled_from([1.0, 1e-3, 1e-6]),
)
def test_the_most_similar_are_those_of_one_large_table(
    seed: int, sizes: tuple[int, int, int], count: int, block: int, spread: float
) -> None:
    rng, (many, few, width) = np.random.default_rng(seed), sizes
    # far from the origin and close together, as the vectors of an untrained network are
    train, test = (1 + spread * rng.normal(size=(n, width)) for n in (many, few))
    want, similarity = sorted_at_once(train, test, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip_metrics, "_BLOCK", block)
        patch.setattr(clip_metrics, "_CHUNK", 7)
        order, found = most_similar(train, test, count)
    np.testing.assert_allclose(found, np.take_along_axis(similarity, want, 1), atol=1e-14)
    np.testing.assert_allclose(found, np.take_along_axis(similarity, order, 1), atol=1e-14)
    assert all(len(set(row)) == min(count, many) for row in order.tolist())
    if spread == 1 and width > 2:  # nothing ties
        assert np.array_equal(order, want)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(1, 9))
def test_of_equal_vectors_the_first_come_first(chosen: list[int], count: int) -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(5, 4))[chosen], rng.normal(size=(3, 4))
    order, _ = most_similar(train, test, count)
    _, similarity = sorted_at_once(train, test, count)
    want = np.argsort(-similarity.round(12), axis=1, kind="stable")[:, :count]
    assert np.array_equal(order, want)


def test_chance_is_the_mean_over_all_orders_of_the_gallery() -> None:
    known, asked = ["a", "a", "a", "b", "b", "c"], ["a", "b", "b", "c", "d"]
    orders = list(itertools.permutations(known))
    found = chance(known, asked)
    assert found["svm"] == found["linear"] == found["knn"] == pytest.approx(1 / 5)
    for k in RANKS:
        hits = [action in order[:k] for order in orders for action in asked]
        assert found[f"r{k}"] == pytest.approx(np.mean(hits)), k


def test_a_single_action_leaves_the_classifiers_nothing_to_learn() -> None:
    x = np.random.default_rng(0).normal(size=(5, 3))
    found = score_clips(x, ["a"] * 5, x, ["a", "a", "a", "a", "b"])
    assert np.isnan([found["svm"], found["linear"]]).all()
    assert (found["knn"], found["r1"]) == (0.8, 0.8)


def test_vectors_must_fit_their_labels() -> None:
    x = np.zeros((3, 2))
    with pytest.raises(ShapeError, match="with 2"):
        score_clips(x, ["a", "b"], x, ["a", "b", "a"])
    with pytest.raises(ShapeError, match="one length"):
        score_clips(x, ["a", "b", "a"], np.zeros((3, 4)), ["a", "b", "a"])
    with pytest.raises(ShapeError, match="not finite"):
        score_clips(x * np.nan, ["a", "b", "a"], x, ["a", "b", "a"])


LENGTH = 4


class Colour(Method):
    """A clip's mean colour; or, blind, always the same one."""

    crop = "centre"
    embeds = "clip"
    cacheable = True
    width = 3

    def __init__(self, blind: bool = False) -> None:
        super().__init__(replace(carl_tiny(), encoder=replace(carl_tiny().encoder, size=16)))
        self.blind = blind

    @classmethod
    def views(cls, recipe, video, rng, motion=None):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def forward(self, batch):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    @classmethod
    def units(cls, recipe, frames: int, count: int | None = None) -> I64:  # type: ignore[no-untyped-def]
        starts = spread(max(1, frames - LENGTH + 1), count)
        return np.minimum(starts[:, None] + np.arange(LENGTH), frames - 1)

    def features(self, pixels: Tensor) -> Tensor:
        return torch.ones(len(pixels), 3) if self.blind else pixels.mean((1, 3, 4))

    def relate(self, rows: Tensor, times: Tensor, valid: Tensor | None = None) -> Tensor:
        return torch.nn.functional.normalize(rows, dim=-1)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Videos of three persons in red or in blue, one shorter than a clip; a file that is none."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("coloured")
    entries = []
    for i in range(18):
        action = ("blue", "red")[i % 2]
        pixels = rng.integers(0, 120, (3 if i == 4 else 5 + i, 32, 48, 3), dtype=np.uint8)
        pixels[..., 2 * (action == "blue")] += 120
        path = folder / f"{i:02d}.mp4"
        write(path, pixels, 10.0)
        split = "train" if i < 12 else "test"
        entries.append(Entry(path.name, path, split, action, extra={"person": "abc"[i % 3]}))
    (folder / "notes.mp4").write_text("no video")
    entries.append(Entry("notes.mp4", folder / "notes.mp4", "test", "red"))
    return Manifest((*entries, replace(entries[0], path=folder / "none.mp4", action="")))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(checkpoint, "load_method", lambda run, device: Colour())
    monkeypatch.setattr(clips, "build", lambda recipe: Colour(blind=True))
    return Path("run")


def test_a_run_stands_beside_chance_frozen_and_untrained(
    run: Path, coloured: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(
        data, "read", lambda path, *a, **k: opened.append(path) or read(path, *a, **k)
    )
    scores = evaluate_clips(run, coloured, clips=3)
    assert sorted(opened) == sorted(entry.path for entry in coloured.entries[:18])  # once each
    assert scores.embeddings == ["chance", "frozen", "untrained", "carl"]
    assert scores.metrics == METRICS
    for metric in ("svm", "linear", "knn", "r1"):
        assert scores.mean("chance", metric) == pytest.approx(0.5), metric
        assert scores.mean("carl", metric) == 1, metric
    for metric in ("svm", "linear", "knn"):
        assert scores.mean("untrained", metric) == pytest.approx(0.5), metric
    assert [name for name, _ in scores.left_out] == ["notes.mp4"]
    assert "12 labelled videos" in scores.protocol
    assert "6 others" in scores.protocol
    for ending in ("csv", "md", "html"):
        scores.write(tmp_path / f"scores.{ending}")
        assert "frozen" in (tmp_path / f"scores.{ending}").read_text()
    assert evaluate_clips(run, coloured, clips=3, baselines=False).embeddings == ["carl"]


def test_a_video_is_the_mean_over_clips_that_lie_evenly_over_it(
    run: Path, coloured: Manifest
) -> None:
    seen = []

    def remember(train, known, test, asked):  # type: ignore[no-untyped-def]
        seen.append(np.concatenate([train, test]))
        return score_clips(train, known, test, asked)

    evaluate_clips(run, coloured, clips=3, baselines=False, score=remember)
    for entry, vector in zip(coloured.entries[:18], seen[0], strict=True):
        frames = probe(entry.path).frames
        last = max(0, frames - LENGTH)
        means = []
        for start in sorted({0, round(last / 2), last}):
            index = np.minimum(np.arange(start, start + LENGTH), frames - 1)
            pixels = torch.from_numpy(read(entry.path, index, size=18).pixels)
            means.append(plain(pixels, 16, crop="centre").mean((0, 2, 3)).numpy())
        np.testing.assert_allclose(vector, np.mean(means, 0), rtol=1e-4, atol=1e-5)


def test_without_a_train_split_each_value_is_left_out_in_turn(
    run: Path, coloured: Manifest
) -> None:
    entries = [e for e in coloured if e.action]
    turned = [replace(e, split=e.extra.get("person", "a")) for e in entries]
    scores = evaluate_clips(run, Manifest(tuple(turned)), clips=2)
    assert "3 folds" in scores.protocol
    rows = list(csv.DictReader(io.StringIO(scores.csv())))
    assert [r["fold"] for r in rows if r["embedding"] == "carl"] == ["a", "b", "c", "mean"]
    for metric in METRICS:
        each = [float(r[metric]) for r in rows if r["embedding"] == "frozen"]
        assert each[-1] == pytest.approx(np.mean(each[:-1]), abs=1e-5)
    assert "3 folds" in evaluate_clips(run, coloured, clips=1, folds="person").protocol


def test_a_table_must_allow_to_learn_and_to_score(run: Path, coloured: Manifest) -> None:
    with pytest.raises(ManifestError, match="at least two actions"):
        evaluate_clips(run, coloured.select(split="train"))
    with pytest.raises(ManifestError, match="at least two actions"):
        evaluate_clips(run, coloured.select(action="red"))
    with pytest.raises(ManifestError, match="it has 0 videos"):
        evaluate_clips(run, coloured.select(action=""))
    with pytest.raises(ManifestError, match="`folds`"):
        evaluate_clips(run, coloured, folds="colour of the hat")


def test_frames_have_metrics_of_their_own(
    coloured: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Colour, "embeds", "frame")
    monkeypatch.setattr(checkpoint, "load_method", lambda run, device: Colour())
    with pytest.raises(ConfigError, match="embeds frames, not clips"):
        evaluate_clips(Path("run"), coloured)
