"""The benchmarks: turns, medians and ratios, what is written, and that both sides do one thing."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from marey import training
from marey.alignment import dtw_path
from marey.bench import speed, speed_cases
from marey.bench.speed_answers import random_archive, top, walks
from marey.bench.speed_cases import OURS, Case, Desk, Measured, Row, Way, measure, take_turns
from marey.bench.speed_memory import peak
from marey.bench.speed_table import Speeds
from marey.bench.speed_training import Steps, untrained
from marey.cli import main
from marey.config import Recipe
from marey.errors import ConfigError, TrainingError, VideoError
from marey.losses.sequence import sequence_contrastive_loss
from marey.manifest import Manifest
from marey.recipes import carl_tiny, marey_tiny, mcl_tiny
from marey.video import stream

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


class Clock:
    """Stands still, but for those who say how long they took."""

    def __init__(self) -> None:
        self.now, self.log = 0.0, list[str]()

    def __call__(self) -> float:
        return self.now

    def way(self, name: str, *seconds: float, **more: object) -> Way:
        """Takes these times in turn, the last of them for ever."""
        left = list(seconds)

        def run() -> None:
            self.log.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return Way(run, **more)


def test_ways_take_turns_after_a_warm_up() -> None:
    clock = Clock()
    ways = {
        "a": clock.way("a", 9.0, 1.0, 5.0, 2.0),
        "b": clock.way("b", 3.0),
        "c": clock.way("c", 4.0, warm=False),
    }
    times = take_turns(ways, 3, clock)
    assert "".join(clock.log) == "ab" + 3 * "abc"
    assert (times["a"].first, times["a"].seconds) == (9.0, (1.0, 5.0, 2.0))
    assert math.isnan(times["c"].first)
    assert times["c"].seconds == (4.0, 4.0, 4.0)


def test_short_ways_take_more_turns_but_not_for_ever() -> None:
    clock = Clock()
    times = take_turns({"a": clock.way("a", 0.0625), "b": clock.way("b", 0.0625)}, 3, clock)
    assert {len(t.seconds) for t in times.values()} == {8}
    times = take_turns({"a": clock.way("a", 1e-6)}, 3, clock)
    assert len(times["a"].seconds) == speed_cases.MOST


def test_rows_are_medians_per_unit_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(speed_cases.time, "perf_counter", clock)
    monkeypatch.setattr(take_turns, "__defaults__", (clock,))
    ways = {OURS: clock.way("a", 0.0, 1.0, 9.0, 2.0, work=10), "other": clock.way("b", 8.0, work=4)}
    case = Case("stage", "what", "frames/s", ways, rounds=3, note=lambda t: f"{t[OURS].first}")
    case = case.beside("third", clock.way("c", 4.0).run, reach=2)
    fast, slow = measure(case)
    assert (fast.ours, fast.theirs, fast.ratio, fast.reached) == (5.0, 0.5, 10.0, None)
    assert (slow.other, slow.theirs, slow.ratio, slow.reached) == ("third", 2.5, 2.0, True)
    assert (fast.note, slow.note) == ("0.0", "")
    (alone,) = measure(replace(case, unit="ms", ways={OURS: clock.way("a", 3.0, work=2)}, limit=1))
    assert (alone.ours, alone.other, alone.reached) == (1500.0, "", False)
    assert math.isnan(alone.ratio)


def test_a_ratio_says_how_many_times_better() -> None:
    assert Row("", "", "frames/s", 8.0, "x", 2.0).ratio == 4
    assert Row("", "", "MB", 8.0, "x", 2.0).ratio == 0.25
    assert Row("", "", "s", 8.0, "x", 2.0, reach=1.0).reached is False
    assert Row("", "", "s", 1.0, "x", 2.0, reach=1.0, limit=0.5).reached is False
    missing = Row("", "", "frames/s", reach=3.0, note="no encoder")
    assert math.isnan(missing.ratio)
    assert missing.reached is None


def test_what_is_written(tmp_path: Path) -> None:
    rows = (
        Row("decode", "all", "frames/s", 1234.5, "floor", 617.25, reach=3.0),
        Row("decode", "AV1", "frames/s", note="no encoder"),
        Row("search", "top", "ms", 0.02, limit=1.0),
    )
    Speeds(rows, {"commit": "abc"}, "make bench").write(tmp_path)
    text = (tmp_path / "speed.md").read_text()
    line = "| all | 1,234 frames/s | floor | 617 frames/s | 2 | 3 times: **not reached** |  |"
    assert line in text
    assert "| AV1 |  |  |  |  |  | no encoder |" in text
    assert "| top | 0.0200 ms |  |  |  | 1.00 ms: reached |  |" in text
    assert text.index("### Decode") < text.index("### Search") < text.index("commit: abc")
    data = json.loads((tmp_path / "speed.json").read_text())
    assert (data["command"], data["facts"]["commit"]) == ("make bench", "abc")
    assert [row["ratio"] for row in data["rows"]] == [2.0, None, None]
    assert [row["reached"] for row in data["rows"]] == [False, None, True]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["bench", "speed", "--quick", "--only", "search", "decode", "--out", str(tmp_path)])
    text = capsys.readouterr().out
    assert "floor: the decoder alone" in text
    data = json.loads((tmp_path / "speed.json").read_text())
    assert [*dict.fromkeys(row["stage"] for row in data["rows"])] == ["decode", "search"]
    assert all(row["ratio"] > 0 for row in data["rows"])
    assert {"commit", "processor", "torch", "threads", "device"} <= set(data["facts"])
    assert float(data["facts"]["cores had on average"]) > 0
    assert data["command"].endswith("--only search decode --quick")
    with pytest.raises(ConfigError, match="no stage 'decoding'; there are decode, motion"):
        speed.bench_speed(tmp_path, only=["decoding"])


def test_a_stage_that_fails_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    def broken(desk: Desk) -> Measured:
        yield Row("broken", "first", "s", 1.0)
        raise VideoError("no video here.")

    def fine(desk: Desk) -> Iterator[Row]:
        yield Row("fine", "second", "s", 1.0)

    done = speed.run({"broken": broken, "fine": fine}, tmp_path, "command")
    assert [row.what for row in done.rows] == ["first", "failed", "second"]
    assert "no video here." in (tmp_path / "speed.md").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")
def test_memory_is_that_of_the_work_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hungry.py").write_text(
        "def prepare(mine, work):\n"
        "    kept = b'x' * (mine * 10**6)\n"
        "    return lambda: len(kept) + len(b'x' * (work * 10**6))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    ballast = b"x" * 200_000_000  # of this process, which must not count
    megabytes, seconds, whole = peak("hungry:prepare", mine=10, work=40)
    assert len(ballast) / 1e6 > 45 > megabytes > 35
    assert 0 < seconds < 10
    assert whole > megabytes + 10
    with pytest.raises(TrainingError, match="hungry:prepare could not be measured: .*must be str|"):
        peak("hungry:prepare", mine=10, work="much")


def few(world: Path) -> Manifest:
    return Manifest(Manifest.read(world).select(split="train").entries[:8])


def small() -> Recipe:
    recipe = carl_tiny()
    encoder = replace(recipe.encoder, pool="max", size=32)
    data = replace(recipe.data, videos=2, steps=1, copies=0, workers=0)
    return replace(recipe, encoder=encoder, data=data, precision="fp32")


def test_a_step_is_that_of_a_training(world: Path, tmp_path: Path) -> None:
    for name, copies in (("pixels", 0), ("features", 1)):
        recipe = small()
        recipe = replace(recipe, data=replace(recipe.data, copies=copies))
        run = training.train(few(world), tmp_path / name, recipe, cache=tmp_path / "cache").run
        steps = Steps(recipe, few(world), tmp_path / "cache", CPU)
        batch = steps.wait()
        loss = steps.compute(batch)
        assert loss == pytest.approx(training.read_log(run)[0]["loss"], abs=1e-4)
        assert steps.compute(batch) != loss
        steps.close()


def sample() -> tuple[Tensor, Tensor, Tensor]:
    from losses import sample

    return sample(3, 20)


def test_the_dense_loss_is_the_same_loss() -> None:
    from baselines.dense_loss import dense_loss

    found = []
    for loss in (dense_loss, sequence_contrastive_loss):
        z, frames, valid = sample()
        z.requires_grad_()
        value = loss(z, frames, valid)
        value.backward()
        found.append((value.detach(), z.grad))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("free_ends", [False, True])
def test_the_loops_walk_the_same_path(free_ends: bool) -> None:
    from baselines.dtw_loops import dtw_loops

    a, b = walks(40, 8)
    a = a[10:25] if free_ends else a
    total, path = dtw_path(a, b, free_ends=free_ends)
    other, cells = dtw_loops(a, b, free_ends=free_ends)
    assert total == pytest.approx(other, abs=1e-4)
    assert path.T.tolist() == [list(cell) for cell in cells]


def test_decoding_all_of_it_gives_the_same_pixels(world: Path) -> None:
    from baselines.decode_all import decode_all

    path = few(world).entries[0].path
    ours = np.concatenate([chunk.pixels for chunk in stream(path)])
    theirs = decode_all(path) * 255
    assert np.abs(theirs.permute(0, 2, 3, 1).numpy() - ours).max() <= 1


@pytest.mark.parametrize("pool", ["max", "grid"])
def test_embedding_all_of_it_gives_the_same_rows(pool: str, world: Path, tmp_path: Path) -> None:
    from baselines.embed_all import embed_all

    recipe = small() if pool == "max" else replace(marey_tiny(), precision="fp32")
    model = untrained(Desk(tmp_path, CPU, quick=True), recipe)
    path = few(world).entries[0].path
    ours = torch.from_numpy(model.embed(path).vectors)
    theirs = embed_all(model.method, path, recipe.encoder.size)
    # what is small is resized in two steps by one, in one by the other
    assert torch.cosine_similarity(ours, theirs).min() > 0.98


def test_embedding_all_clips_gives_the_same_rows(world: Path, tmp_path: Path) -> None:
    from baselines.embed_all import embed_all

    recipe = mcl_tiny()
    model = untrained(Desk(tmp_path, CPU, quick=True), recipe)
    path = few(world).entries[0].path
    ours = torch.from_numpy(model.embed(path).vectors)
    theirs = embed_all(model.method, path, recipe.encoder.size)
    assert ours.shape == theirs.shape
    assert torch.cosine_similarity(ours, theirs).min() > 0.98


def test_the_eager_step_has_the_same_loss(world: Path, tmp_path: Path) -> None:
    from baselines.eager_steps import EagerStep

    steps = Steps(small(), few(world), tmp_path, CPU)
    batch = steps.wait()
    steps.close()
    usual = EagerStep(steps.method)
    assert usual(batch) == pytest.approx(steps.compute(batch), rel=1e-4)


def test_sorting_everything_finds_the_same_rows() -> None:
    from baselines.argsort_search import argsort_search

    archive = random_archive(1500, 16)
    query = archive.vectors[7]
    rows = [1000 * int(one.video) + one.first for one in top(archive, query)]
    assert rows == argsort_search(archive.vectors, query).tolist()
    assert len(top(archive, query, 3)) == 3


def test_the_suite_has_a_stage_for_everything_and_each_can_run_alone() -> None:
    import run

    suite = {"run", "harness"}
    quality = {"alignability", "long_videos", "moments_found", "motion_agreement"}
    quality |= {"motion_focus", "phase_errors"}
    clock = {"clock", "clock_world", "clock_figure"}
    files = {path.stem for path in BENCHMARKS.glob("*.py")}
    assert set(run.STAGES) == files - suite - quality - clock
    for name in run.STAGES:
        text = (BENCHMARKS / f"{name}.py").read_text()
        assert f'harness.main(__doc__, {{"{name}": cases}})' in text


@pytest.mark.parametrize("phases", [2, 3, 4])
def test_the_boundaries_found_are_the_most_probable_of_all(phases: int) -> None:
    from phase_errors import boundaries_found

    logs = np.log(np.random.default_rng(phases).dirichlet(np.ones(phases), 9))

    def total(bounds: tuple[int, ...]) -> float:
        parts = itertools.pairwise((0, *bounds, len(logs)))
        return float(sum(logs[a:b, p].sum() for p, (a, b) in enumerate(parts)))

    best = max(itertools.combinations(range(1, len(logs)), phases - 1), key=total)
    assert tuple(boundaries_found(logs)) == best


def test_videos_of_any_length_are_made_of_one(tmp_path: Path) -> None:
    from length import repeated
    from marey.video import probe, read

    piece = Desk(tmp_path, CPU).video(64, 64, 30)
    long = repeated(piece, 3)
    assert probe(long).frames == 90
    np.testing.assert_allclose(np.diff(probe(long).seconds), 1 / 25, atol=1e-3)
    assert np.array_equal(read(long, [5, 35, 65]).pixels, read(piece, [5, 5, 5]).pixels)


def test_a_codec_that_is_missing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import decode

    monkeypatch.setattr(decode, "CODECS", {"Nothing": ("libnothing", {}, "mp4")})
    *_, row = decode.cases(Desk(tmp_path, CPU, quick=True))
    assert isinstance(row, Row)
    assert "no encoder libnothing" in row.note
