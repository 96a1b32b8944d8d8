"""Frame metrics against the released numbers, slow obvious twins, and what they must know."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import kendalltau

from marey import alignment
from marey.errors import ConfigError, ShapeError
from marey.evaluation import frames as metrics

some = settings(max_examples=40, deadline=None)


def videos(seed: int, count: int, phases: int = 3, noise: float = 0.3, d: int = 4):
    """Videos that walk from phase to phase of the same curve, at their own pace."""
    rng = np.random.default_rng(seed)
    corners = np.random.default_rng(99).normal(size=(phases + 1, d))
    embeddings, labels, progress = [], [], []
    for _ in range(count):
        lengths = rng.integers(3, 12, phases)
        now = metrics.phase_progress(list(np.cumsum(lengths[:-1])), int(lengths.sum()))
        curve = np.stack([np.interp(now, np.arange(phases + 1), c) for c in corners.T], axis=1)
        embeddings.append(curve + rng.normal(0, noise, curve.shape))
        labels.append(np.floor(now).astype(np.int64))
        progress.append(now)
    return embeddings, labels, progress


@pytest.fixture(scope="module")
def golden(shared: Path):
    data = np.load(shared / "golden" / "frame_metrics.npz")

    def split(name: str, part: str) -> list[np.ndarray]:
        return np.split(data[f"{part}_{name}"], np.cumsum(data[f"{part}_lengths"])[:-1])

    sets = [split(name, part) for part in ("train", "val") for name in ("embeddings", "labels")]
    return sets, data


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_released_tau_and_precision(golden, dtype):
    (_, _, val, labels), data = golden
    val = [x.astype(dtype) for x in val]
    assert metrics.kendalls_tau(val, stride=2) == pytest.approx(float(data["tau_stride2"]), 1e-4)
    for k in (5, 10, 15):
        found = metrics.average_precision_at_k(val, labels, k, stride=2)
        assert found == pytest.approx(float(data[f"ap{k}"]), 1e-4)


def test_released_probes(golden):
    sets, data = golden
    for i, fraction in enumerate(data["fractions"]):
        found = metrics.progression(*sets, fraction=fraction)
        assert found == pytest.approx(data["progression_r2"][i], 1e-4)
        found = metrics.phase_classification(*sets, fraction=fraction)
        assert found == pytest.approx(data["classification"][i], abs=0.01)


@some
@given(st.integers(0, 1000), st.integers(2, 5), st.integers(1, 4))
def test_tau_is_that_of_the_slow_loop(seed, count, stride):
    embeddings, _, _ = videos(seed, count, noise=2.0)
    taus = []
    for a, b in itertools.permutations(embeddings, 2):
        matches = cdist(a[::stride], b[::stride]).argmin(axis=1)
        taus.append(kendalltau(np.arange(len(matches)), matches).statistic)
    assert metrics.kendalls_tau(embeddings, stride=stride) == pytest.approx(np.nanmean(taus))


@some
@given(st.integers(0, 1000), st.integers(1, 9), st.integers(0, 12))
def test_tau_counts_ties_as_scipy_does(seed, rows, n):
    matches = np.random.default_rng(seed).integers(0, 4, (rows, n))
    found = metrics._tau(matches)
    for row, tau in zip(matches, found, strict=True):
        slow = kendalltau(np.arange(n), row).statistic if n > 1 else math.nan
        assert tau == pytest.approx(slow, nan_ok=True)


@some
@given(st.integers(0, 1000), st.integers(2, 4), st.integers(1, 60), st.integers(1, 3))
def test_precision_is_that_of_the_slow_loop(seed, count, k, stride):
    embeddings, labels, _ = videos(seed, count, noise=1.0)
    means = []
    for i in range(count):
        others = [j for j in range(count) if j != i]
        candidates = np.concatenate([embeddings[j][::stride] for j in others])
        phases = np.concatenate([labels[j][::stride] for j in others])
        shares = []
        for x, phase in zip(embeddings[i][::stride], labels[i][::stride], strict=True):
            near = ((candidates - x) ** 2).sum(axis=1).argsort()[:k]
            shares.append(np.mean(phases[near] == phase))
        means.append(np.mean(shares))
    found = metrics.average_precision_at_k(embeddings, labels, k, stride=stride)
    assert found == pytest.approx(np.mean(means))


def test_far_from_the_origin_single_precision_is_enough():
    embeddings, labels, _ = videos(0, 4)
    far = [(x + 3000).astype(np.float32) for x in embeddings]
    near = [x.astype(np.float64) - 3000 for x in far]
    assert metrics.kendalls_tau(far) == pytest.approx(metrics.kendalls_tau(near), abs=1e-3)
    found = metrics.average_precision_at_k(far, labels, 5)
    assert found == pytest.approx(metrics.average_precision_at_k(near, labels, 5), abs=1e-3)


@some
@given(st.integers(0, 1000), st.sampled_from(["nearest", "dtw"]))
def test_alignment_error_is_that_of_the_slow_loop(seed, matcher):
    embeddings, _, progress = videos(seed, 3)
    errors = []
    for i, j in itertools.permutations(range(3), 2):
        if matcher == "nearest":
            matches = cdist(embeddings[i], embeddings[j]).argmin(axis=1)
        else:
            found = alignment.dtw(embeddings[i], embeddings[j], metric="sqeuclidean")
            matches = alignment.match(found)
        for frame, match in enumerate(matches):
            error = abs(progress[i][frame] - progress[j][match])
            errors.append(error / len(matches))
    found = metrics.alignment_error(embeddings, progress, matcher=matcher)
    assert found == pytest.approx(sum(errors) / 6)


def test_a_cap_on_pairs_draws_among_all_with_the_seed():
    embeddings, _, progress = videos(1, 6, noise=1.0)
    every = metrics.alignment_error(embeddings, progress, pairs=None)
    assert metrics.alignment_error(embeddings, progress, pairs=30) == every
    drawn = [metrics.alignment_error(embeddings, progress, pairs=5, seed=s) for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    single = [metrics.alignment_error(embeddings, progress, pairs=1, seed=s) for s in range(300)]
    assert len(set(single)) == 30  # any ordered pair, none of a video with itself


def test_progress_itself_is_a_perfect_embedding():
    _, labels, progress = videos(2, 6)
    embeddings = [x[:, None] for x in progress]
    assert metrics.kendalls_tau(embeddings) > 0.9
    assert metrics.alignment_error(embeddings, progress, matcher="nearest") < 0.1
    assert metrics.alignment_error(embeddings, progress, matcher="dtw") < 0.15
    assert metrics.average_precision_at_k(embeddings, labels, 1) > 0.85
    probe = (embeddings, labels, embeddings, labels)
    assert metrics.phase_classification(*probe) > 0.8
    assert metrics.progression(*probe) > 0.8


def test_noise_knows_nothing():
    rng = np.random.default_rng(0)
    _, labels, progress = videos(3, 20)
    noise = [rng.normal(size=(len(x), 4)) for x in progress]
    assert abs(metrics.kendalls_tau(noise)) < 0.05
    known = metrics.alignment_error([x[:, None] for x in progress], progress, matcher="nearest")
    assert metrics.alignment_error(noise, progress, matcher="nearest") > 10 * known
    assert metrics.progression(noise[:10], labels[:10], noise[10:], labels[10:]) < 0.1


def test_only_the_first_fraction_of_the_videos_is_learnt_from():
    train, labels, _ = videos(4, 10)
    val, val_labels, _ = videos(5, 3)
    spoilt = train[:3] + [x * 0 + 7 for x in train[3:]]
    for probe in (metrics.phase_classification, metrics.progression):
        clean = probe(train[:3], labels[:3], val, val_labels)
        assert probe(spoilt, labels, val, val_labels, fraction=0.39) == clean
        first = probe(train[:1], labels[:1], val, val_labels)
        assert probe(spoilt, labels, val, val_labels, fraction=0.01) == first


def test_frames_of_a_phase_never_seen_in_training_count_as_wrong():
    train, labels, _ = videos(6, 3, noise=0.01)
    cut = [np.flatnonzero(y < 2) for y in labels]
    seen = [x[rows] for x, rows in zip(train, cut, strict=True)]
    known = [y[rows] for y, rows in zip(labels, cut, strict=True)]
    right = metrics.phase_classification(seen, known, train, labels)
    assert 0 < right <= np.mean(np.concatenate(labels) < 2)


@pytest.mark.parametrize("phases", [2, 3])
def test_classification_is_softmax_regression_with_two_phases_as_with_more(phases):
    # so small that the penalty decides
    train, labels, _ = videos(11, 1, phases, noise=0.5)
    val, val_labels, _ = videos(12, 80, phases, noise=0.5)
    train, val = ([0.2 * x for x in part] for part in (train, val))
    x, y = np.concatenate(train), np.concatenate(labels)
    mean = x.mean(axis=0)

    def loss(flat: np.ndarray) -> float:
        weights = flat.reshape(phases, -1)
        score = (x - mean) @ weights[:, 1:].T + weights[:, 0]
        miss = logsumexp(score, axis=1) - score[np.arange(len(y)), y]
        return float(miss.sum() + (weights[:, 1:] ** 2).sum() / 2)

    weights = minimize(loss, np.zeros(phases * 5), options={"gtol": 1e-3}).x.reshape(phases, -1)
    guess = ((np.concatenate(val) - mean) @ weights[:, 1:].T + weights[:, 0]).argmax(axis=1)
    expected = np.mean(guess == np.concatenate(val_labels))
    found = metrics.phase_classification(train, labels, val, val_labels)
    assert found == pytest.approx(expected, abs=1e-3)


def test_progression_leaves_out_boundaries_that_a_shifted_video_lost():
    train, labels, _ = videos(7, 4)
    val, val_labels, _ = videos(8, 3)
    # a video that stops in phase 1 tells of the end of phase 0, and nothing of the end of phase 1
    end = int(np.searchsorted(labels[0], 2))
    shorter = [train[0][:end], *train[1:]]
    short_labels = [labels[0][:end], *labels[1:]]

    def score(phase: int, used: list[np.ndarray], used_labels: list[np.ndarray]) -> float:
        rows, targets = [], []
        for x, y in zip(used + val, used_labels + val_labels, strict=True):
            last = np.flatnonzero(y == phase)[-1]
            rows.append(np.c_[x, np.ones(len(x))])
            targets.append((np.arange(len(y)) - last) / len(y))
        n = len(used)
        weights = np.linalg.lstsq(
            np.concatenate(rows[:n]), np.concatenate(targets[:n]), rcond=None
        )[0]
        truth = np.concatenate(targets[n:])
        misses = ((truth - np.concatenate(rows[n:]) @ weights) ** 2).sum()
        return 1 - misses / ((truth - truth.mean()) ** 2).sum()

    expected = (score(0, shorter, short_labels) + score(1, train[1:], labels[1:])) / 2
    found = metrics.progression(shorter, short_labels, val, val_labels)
    assert found == pytest.approx(expected)


def test_nan_where_the_data_cannot_answer():
    embeddings, labels, progress = videos(9, 3)
    one = slice(0, 1)
    assert math.isnan(metrics.kendalls_tau(embeddings[one]))
    assert math.isnan(metrics.average_precision_at_k(embeddings[one], labels[one], 5))
    assert math.isnan(metrics.alignment_error(embeddings[one], progress[one]))
    assert math.isnan(metrics.kendalls_tau([np.ones((5, 2))] * 3))
    assert math.isnan(metrics.kendalls_tau([np.ones((1, 2))] * 3))
    single = [y * 0 for y in labels]
    assert math.isnan(metrics.phase_classification(embeddings, single, embeddings, labels))
    assert math.isnan(metrics.progression(embeddings, single, embeddings, labels))
    assert math.isnan(metrics.progression(embeddings, labels, embeddings, single))


@some
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_progress_runs_linearly_inside_every_phase(lengths):
    frames = sum(lengths)
    slow = [k + i / length for k, length in enumerate(lengths) for i in range(length)]
    found = metrics.phase_progress(list(np.cumsum(lengths[:-1])), frames)
    np.testing.assert_allclose(found, slow, atol=1e-12)


@pytest.mark.parametrize("boundaries", [[0], [5], [3, 3], [4, 2], [-1], [2, 7]])
def test_boundaries_that_are_none_are_refused(boundaries):
    with pytest.raises(ShapeError, match="phase boundaries must rise"):
        metrics.phase_progress(boundaries, 5)


@some
@given(st.integers(1, 400), st.integers(0, 1000), st.floats(0, 0.5), st.integers(1, 40))
def test_a_shift_loses_no_more_than_it_may(frames, seed, most, least):
    part = metrics.shift(frames, np.random.default_rng(seed), most=most, least=least)
    left = len(range(frames)[part])
    assert left >= min(frames, least)
    assert 0 <= part.start <= most * frames
    assert frames - most * frames <= part.stop <= frames
    assert part == metrics.shift(frames, np.random.default_rng(seed), most=most, least=least)


def test_shifts_use_the_whole_range():
    rng = np.random.default_rng(0)
    parts = [metrics.shift(1000, rng) for _ in range(500)]
    heads, tails = (
        np.array(side) for side in zip(*[(p.start, 1000 - p.stop) for p in parts], strict=True)
    )
    for lost in (heads, tails):
        assert lost.min() < 20
        assert 330 < lost.max() <= 350
    assert abs(np.corrcoef(heads, tails)[0, 1]) < 0.15


X, Y, P = videos(10, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.kendalls_tau([]), "no video"),
        (lambda: metrics.kendalls_tau([X[0], X[1][:, :2]]), "one D for all videos, but video 1"),
        (lambda: metrics.kendalls_tau([X[0][:0]]), "video 0"),
        (lambda: metrics.kendalls_tau([X[0], X[1] * np.nan]), "video 1 has a value"),
        (lambda: metrics.average_precision_at_k(X, Y[:2], 5), "3 videos need as many"),
        (lambda: metrics.average_precision_at_k(X, [Y[0], Y[1], Y[2][1:]], 5), "video 2 has"),
        (lambda: metrics.alignment_error(X, [P[0], P[1], P[2][::-1]]), "must not go back"),
        (lambda: metrics.progression(X, Y, X, [Y[0], Y[1], Y[2][:, None]]), "video 2 has"),
        (lambda: metrics.phase_classification(X, Y, [x[:, :3] for x in X], Y), "not 4 and 3"),
    ],
)
def test_lists_that_do_not_fit_are_refused(call, words):
    with pytest.raises(ShapeError, match=words):
        call()


def test_settings_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match="k of at least 1"):
        metrics.average_precision_at_k(X, Y, 0)
    with pytest.raises(ConfigError, match="no matcher 'soft'"):
        metrics.alignment_error(X, P, matcher="soft")  # type: ignore[arg-type]
