"""The ablation of MCL: which rows, from which runs, and what a stopped or broken one leaves."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marey.bench import cells
from marey.bench.ablation import LADDER, PARTS, bench_mcl
from marey.bench.tables import Benched
from marey.cli import main
from marey.config import ClipEncoderConfig, Recipe
from marey.errors import ConfigError, ManifestError, TrainingError
from marey.manifest import Entry, Manifest
from marey.recipes import mcl_tiny
from marey.training import Trained

ROWS = ["chance", "frozen", "untrained", *[row for row, _ in LADDER.values()]]


def tiny() -> Recipe:
    recipe = mcl_tiny()
    assert isinstance(recipe.encoder, ClipEncoderConfig)
    return replace(
        recipe,
        encoder=replace(recipe.encoder, size=32),
        data=replace(recipe.data, videos=4, workers=0),
    )


@pytest.fixture(scope="module")
def few(world: Path) -> Path:
    """Ten videos of the tiny world, six to learn from, of two actions."""
    videos, chosen = Manifest.read(world), []
    for action in videos.actions():
        chosen += videos.select(split="train", action=action).entries[:3]
        chosen += videos.select(split="test", action=action).entries[:2]
    table = world.with_name("few.csv")
    Manifest(tuple(chosen)).write(table)
    return table


@pytest.fixture(scope="module")
def out(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished bench."""
    out = tmp_path_factory.mktemp("bench")
    assert not bench_mcl(few, out, recipe=tiny(), seeds=(0, 1), steps=2).failed
    return out


def test_rows_and_spread(out: Path, few: Path) -> None:
    data = json.loads((out / "table.json").read_text())
    rows = data["tables"]["clips"]
    assert list(rows) == ROWS
    for row, metrics in rows.items():
        for metric, found in metrics.items():
            assert found["n"] == (1 if row in ("chance", "frozen") else 2), (row, metric)
            assert found["mean"] == pytest.approx(statistics.fmean(found["values"]))
            if found["n"] == 2:
                a, b = found["values"]
                assert found["sd"] == pytest.approx(abs(a - b) / math.sqrt(2))
            else:
                assert found["sd"] is None
    assert set(data["runs"]) == {f"{key}-{s}" for key in ("untrained", *LADDER) for s in (0, 1)}
    for name, run in data["runs"].items():
        assert run["steps"] == (0 if name.startswith("untrained") else 2)
        assert {"commit", "marey", "device", "torch"} <= set(run["facts"])
    text = (out / "table.md").read_text()
    assert all(f"| {row} (n = " in text.replace("**", "") for row in ROWS)
    assert "marey bench mcl-ablation" in text
    assert "split `train` (6)" in text


def test_parts_are_switched_off_as_the_rows_say(out: Path) -> None:
    methods = {
        key: json.loads((out / "runs" / f"{key}-0" / "run.json").read_text())["recipe"]["method"]
        for key in LADDER
    }
    full = tiny().method
    assert methods["full"] == json.loads(json.dumps(vars(full)))
    motion = ("focus_time", "focus_space", "spatiotemporal", "spatial", "temporal")
    assert not any(methods["contrast"][key] for key in (*motion, "intra", "order"))
    assert methods["sampling"]["focus_time"] == methods["full"]["focus_time"]
    assert not any(methods["sampling"][key] for key in (*motion[2:], "intra", "order"))
    assert all(methods["alignment"][key] for key in motion)
    assert not any(methods["alignment"][key] for key in ("intra", "order"))


def test_no_label_is_seen_in_training(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Entry] = []

    def watch(videos: Manifest, *given: Any, **more: Any) -> Trained:
        seen.extend(videos)
        raise TrainingError("that is enough")

    monkeypatch.setattr(cells, "train", watch)
    done = bench_mcl(few, tmp_path, recipe=tiny(), seeds=(0,), steps=1)
    assert len(done.failed) == 5
    learned = [entry.path for entry in Manifest.read(few).select(split="train")]
    assert seen == [Entry(one.name, one.path) for one in seen]
    assert [entry.path for entry in seen] == 5 * learned


def test_a_finished_bench_reprints(out: Path, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: object, **more: object) -> None:
        raise AssertionError

    before = (out / "table.md").read_bytes(), (out / "table.json").read_bytes()
    monkeypatch.setattr(cells, "train", never)
    again = bench_mcl(few, out, recipe=tiny(), seeds=(0, 1), steps=2)
    assert before == ((out / "table.md").read_bytes(), (out / "table.json").read_bytes())
    assert again.spread("clips", "chance", "svm").values
    with pytest.raises(ConfigError, match="other settings"):
        bench_mcl(few, out, recipe=tiny(), seeds=(0, 1), steps=3)


def test_a_run_that_fails_is_named_and_tried_again(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "runs" / "sampling-0"
    broken.mkdir(parents=True)
    (broken / "notes.txt").write_text("not a run")

    def bench() -> Benched:
        return bench_mcl(few, tmp_path, recipe=tiny(), seeds=(0,), steps=1)

    done = bench()
    assert [name for name, _ in done.failed] == ["sampling-0"]
    assert "not a run folder" in done.failed[0][1]
    assert not done.spread("clips", "+ motion-focused sampling", "svm").values
    assert done.spread("clips", "full MCL", "svm").values
    assert "sampling-0: " in (tmp_path / "table.md").read_text()
    (broken / "notes.txt").unlink()
    done = bench()
    assert not done.failed
    assert done.spread("clips", "+ motion-focused sampling", "svm").values


def test_folds_learn_from_all_videos(few: Path, tmp_path: Path) -> None:
    videos = Manifest.read(few)
    turned = [replace(e, split="ab"[i // 2 % 2], boundaries=None) for i, e in enumerate(videos)]
    table = few.with_name("folds.csv")
    Manifest(tuple(turned)).write(table)
    done = bench_mcl(table, tmp_path, recipe=tiny(), seeds=(0,), steps=0)
    assert "2 folds" in done.notes
    assert "(10)" in done.notes
    assert json.loads((tmp_path / "runs" / "full-0" / "run.json").read_text())["videos"] == 10


def test_each_part_can_be_left_out(few: Path, tmp_path: Path) -> None:
    recipe = tiny()
    recipe = replace(recipe, method=replace(recipe.method, order=0.0))
    done = bench_mcl(few, tmp_path, recipe=recipe, seeds=(0,), steps=0, parts=True)
    left = [row for key, (row, _) in PARTS.items() if key != "no-order"]  # that is full itself
    assert list(done.sheets[0].rows) == [*ROWS, *left]
    for row in done.sheets[0].rows:
        assert len(done.spread("clips", row, "r1").values) == 1, row


def test_what_cannot_be_benched_is_said_before_the_first_training(
    few: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="give one of mcl"):
        bench_mcl(few, tmp_path, recipe="carl")
    table = world.with_name("one.csv")
    Manifest.read(few).select(split="train").write(table)
    with pytest.raises(ManifestError, match="two actions"):
        bench_mcl(table, tmp_path)
    with pytest.raises(SystemExit):
        main(["bench", "mcl-ablation", str(table), "--out", str(tmp_path)])
    assert "two actions" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
