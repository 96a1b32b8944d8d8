"""The ablation of MCL: which rows, from which runs, and what a stopped or broken one leaves."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from marey import checkpoint
from marey.bench import cells
from marey.bench.ablation import LADDER, PARTS, bench_mcl
from marey.bench.tables import Benched
from marey.cli import main
from marey.config import MclConfig, Recipe
from marey.errors import ConfigError, ManifestError, StorageError, TrainingError
from marey.manifest import Entry, Manifest
from marey.methods import build
from marey.recipes import mcl_tiny
from marey.training import Trained

ROWS = ["chance", "frozen", "untrained", *[row for row, _ in LADDER.values()]]
MOTION = ("focus_time", "focus_space", "spatiotemporal", "spatial", "temporal")


def tiny() -> Recipe:
    recipe = mcl_tiny()
    encoder = replace(recipe.encoder, size=32)
    return replace(recipe, encoder=encoder, data=replace(recipe.data, videos=4, workers=0))


@pytest.fixture(scope="module")
def few(world: Path) -> Path:
    """Six videos of two actions, four to learn from."""
    videos, chosen = Manifest.read(world), []
    for action in videos.actions():
        chosen += videos.select(split="train", action=action).entries[:2]
        chosen += videos.select(split="test", action=action).entries[:1]
    table = world.with_name("few.csv")
    Manifest(tuple(chosen)).write(table)
    return table


@pytest.fixture(scope="module")
def out(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished bench."""
    out = tmp_path_factory.mktemp("bench")
    assert not bench_mcl(few, out, recipe=tiny(), seeds=(0, 1), steps=2).failed
    return out


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_rows_and_spread(out: Path) -> None:
    data = read(out / "table.json")
    text = (out / "table.md").read_text().replace("**", "")
    rows = data["tables"]["clips"]
    assert list(rows) == ROWS
    for row, metrics in rows.items():
        n = 1 if row in ("chance", "frozen") else 2
        cells = []
        for found in metrics.values():
            values = found["values"]
            assert (found["n"], len(values)) == (n, n)
            assert found["mean"] == pytest.approx(statistics.fmean(values))
            if n == 2:
                assert found["sd"] == pytest.approx(abs(values[0] - values[1]) / math.sqrt(2))
                cells.append(f"{found['mean']:.3f} ± {found['sd']:.3f}")
            else:
                assert found["sd"] is None
                cells.append(f"{found['mean']:.3f}")
        assert f"| {row} (n = {n}) | {' | '.join(cells)} |" in text


def test_the_conditions_stand_beside_the_numbers(out: Path) -> None:
    data, text = read(out / "table.json"), (out / "table.md").read_text()
    assert set(data["runs"]) == {f"{key}-{s}" for key in ("untrained", *LADDER) for s in (0, 1)}
    for name, run in data["runs"].items():
        assert run["steps"] == (0 if name.startswith("untrained") else 2)
        assert run["seed"] == int(name[-1])
        assert set(run["seconds"]) == {"train", "score"}
        assert {"commit", "marey", "device", "torch"} <= set(run["facts"])
        assert f"| {name} | {run['seed']} | {run['steps']} |" in text
    assert data["command"] in text
    assert "--recipe RECIPE --seeds 0 1 --steps 2" in data["command"]
    assert "split `train` (4)" in data["notes"]


def test_parts_are_switched_off_as_the_rows_say(out: Path) -> None:
    methods = {
        key: read(out / "runs" / f"{key}-0" / "run.json")["recipe"]["method"] for key in LADDER
    }
    full = methods["full"]
    assert full == json.loads(json.dumps(vars(tiny().method)))
    assert not any(methods["contrast"][key] for key in (*MOTION, "intra", "order"))
    assert [methods["sampling"][key] for key in MOTION[:2]] == [full[key] for key in MOTION[:2]]
    assert not any(methods["sampling"][key] for key in (*MOTION[2:], "intra", "order"))
    assert [methods["alignment"][key] for key in MOTION] == [full[key] for key in MOTION]
    assert not any(methods["alignment"][key] for key in ("intra", "order"))


def test_the_untrained_row_is_the_network_before_its_first_step(out: Path) -> None:
    kept = checkpoint.load_method(out / "runs" / "untrained-1").state_dict()
    fresh = build(replace(tiny(), seed=1)).state_dict()
    taught = checkpoint.load_method(out / "runs" / "full-1").state_dict()
    assert all(torch.equal(kept[name], fresh[name]) for name in fresh)
    assert not all(torch.equal(taught[name], fresh[name]) for name in fresh)


def test_a_finished_bench_reprints(out: Path, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: object, **more: object) -> None:
        raise AssertionError

    before = (out / "table.md").read_bytes(), (out / "table.json").read_bytes()
    monkeypatch.setattr(cells, "train", never)
    again = bench_mcl(few, out, recipe=tiny(), seeds=(0, 1), steps=2)
    assert before == ((out / "table.md").read_bytes(), (out / "table.json").read_bytes())
    assert again.spread("clips", "chance", "svm").values == (0.5,)
    with pytest.raises(ConfigError, match="other settings"):
        bench_mcl(few, out, recipe=tiny(), seeds=(0, 1), steps=3)


def test_a_run_that_fails_is_named_and_tried_again(few: Path, tmp_path: Path) -> None:
    broken = tmp_path / "runs" / "sampling-0"
    broken.mkdir(parents=True)
    (broken / "notes.txt").write_text("not a run")

    def bench() -> Benched:
        return bench_mcl(few, tmp_path, recipe=tiny(), seeds=(0,), steps=0)

    done = bench()
    assert [name for name, _ in done.failed] == ["sampling-0"]
    assert "not a run folder" in done.failed[0][1]
    assert not done.spread("clips", "+ motion-focused sampling", "svm").values
    assert done.spread("clips", "full MCL", "svm").values
    assert "- sampling-0: " in (tmp_path / "table.md").read_text()
    assert "| + motion-focused sampling (n = 0) | - |" in (tmp_path / "table.md").read_text()
    (broken / "notes.txt").unlink()
    done = bench()
    assert not done.failed
    assert len(done.spread("clips", "+ motion-focused sampling", "svm").values) == 1
    scores = tmp_path / "scores" / "full-0.json"
    scores.write_text(scores.read_text()[:-20])
    with pytest.raises(StorageError, match=r"full-0\.json is damaged"):
        bench()


class Watch:
    """Takes the place of a training: remembers what it was asked for, and fails."""

    def __init__(self) -> None:
        self.videos: list[Manifest] = []
        self.recipes: dict[str, Recipe] = {}

    def __call__(self, videos: Manifest, run: Path, recipe: Recipe, **more: Any) -> Trained:
        self.videos.append(videos)
        self.recipes[run.name] = recipe
        raise TrainingError("that is enough")


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(cells, "train", watch)
    return watch


def test_no_label_is_seen_in_training(few: Path, tmp_path: Path, watch: Watch) -> None:
    assert len(bench_mcl(few, tmp_path, recipe=tiny(), seeds=(0,)).failed) == 5
    learned = Manifest.read(few).select(split="train")
    assert len(learned) == 4
    unlabelled = Manifest(tuple(Entry(one.name, one.path) for one in learned))
    assert watch.videos == 5 * [unlabelled]


def test_folds_learn_from_all_videos(few: Path, tmp_path: Path, watch: Watch) -> None:
    turned = [replace(e, split="ab"[i % 2]) for i, e in enumerate(Manifest.read(few))]
    table = few.with_name("folds.csv")
    Manifest(tuple(turned)).write(table)
    done = bench_mcl(table, tmp_path, recipe=tiny(), seeds=(0,))
    assert {len(videos) for videos in watch.videos} == {6}
    assert "all videos, also those that one of the 2 folds scores, (6)" in done.notes


def test_each_part_can_be_left_out(few: Path, tmp_path: Path, watch: Watch) -> None:
    recipe = tiny()
    recipe = replace(recipe, method=replace(recipe.method, order=0.0))
    done = bench_mcl(few, tmp_path, recipe=recipe, seeds=(3,), parts=True)
    left = {key: row for key, (row, _) in PARTS.items() if key != "no-order"}  # that is full itself
    assert list(done.sheets[0].rows) == [*ROWS, *left.values()]
    for key in left:
        method = watch.recipes[f"{key}-3"].method
        assert isinstance(method, MclConfig)
        full = vars(recipe.method)
        off = {name: value for name, value in vars(method).items() if value != full[name]}
        assert len(off) == 1, key
        assert not any(off.values())


def test_what_cannot_be_benched_is_said_before_the_first_training(
    few: Path, tmp_path: Path, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="give one of mcl"):
        bench_mcl(few, tmp_path, recipe="carl")
    for seeds in ((), (1, 1)):
        with pytest.raises(ConfigError, match="at least one seed"):
            bench_mcl(few, tmp_path, seeds=seeds)
    table = few.with_name("one.csv")
    Manifest.read(few).select(split="train").write(table)
    with pytest.raises(SystemExit):
        main(["bench", "mcl-ablation", str(table), "--out", str(tmp_path)])
    assert "two actions" in capsys.readouterr().err
    with pytest.raises(ManifestError):
        bench_mcl(few.with_name("none.csv"), tmp_path)
    assert not watch.videos
    assert not list(tmp_path.iterdir())
