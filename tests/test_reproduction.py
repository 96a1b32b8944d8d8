"""Papers' tables, from data sets in their true layouts on: small, but every step of the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corner import FRAMES, PHASES, Corner
from marey import finetuning
from marey.cli import main
from marey.config import EncoderConfig, MclConfig, Recipe
from marey.errors import CheckpointError, ConfigError, ManifestError, StorageError
from marey.evaluation import linear
from marey.reproduction import scoring
from marey.reproduction.running import reproduce
from marey.reproduction.settings import changed, departures
from marey.reproduction.studies import STUDIES
from marey.reproduction.tables import Measured, markdown, summarise
from test_frame_datasets import finegym, recording
from test_published_recipes import small

FIGURES = {
    "carl-penn": {
        "CARL, joint": {
            "classification_100": 0.9307, "progression": 0.918, "tau": 0.985,
            "ap5": 0.9228, "ap10": 0.9210, "ap15": 0.9182,
        },
        "TCC, joint": {"classification_100": 0.7439, "progression": 0.591, "tau": 0.641},
        "LAV, joint": {"classification_100": 0.7868, "progression": 0.625, "tau": 0.684},
        "TCN, joint": {"classification_100": 0.6809, "progression": 0.383, "tau": 0.542},
        "SaL, joint": {"classification_100": 0.6815, "progression": 0.390, "tau": 0.474},
    },
    "carl-pouring": {"CARL": {"classification_100": 0.9373, "progression": 0.935, "tau": 0.992}},
    "carl-finegym": {"CARL (as a later paper quotes it)": {"gym99": 0.604}},
    "mcl-ucf101": {
        "MCL, linear": {"svm": 0.8191},
        "ImageNet-supervised start, linear": {"svm": 0.7513},
    },
    "mcl-kinetics": {"MCL, linear": {"linear": 0.6662}},
    "mcl-hmdb51": {},
}  # fmt: skip
"""What was published, written down a second time."""


@pytest.fixture
def corner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corner:
    monkeypatch.setattr(linear, "LEAST_STEPS", 20)
    monkeypatch.setattr(finetuning, "CLIPS", 2)
    return Corner(tmp_path / "root")


def tiny(study: str) -> Recipe:
    """The published recipe, made as small as it can be."""
    published = STUDIES[study].recipe
    assert published is not None
    recipe = small(published())
    method = recipe.method
    if isinstance(recipe.encoder, EncoderConfig):
        # the backbone frozen as a whole: the trained one is another test's
        recipe = replace(recipe, encoder=replace(recipe.encoder, frozen="all"))
        method = replace(method, frames=6)
    elif isinstance(method, MclConfig):
        method = replace(method, length=4, window=4)
    return replace(recipe, method=method, data=replace(recipe.data, steps=1, videos=2))


def tables(page: str) -> list[list[list[str]]]:
    """The cells of every table of a page of Markdown."""
    blocks = [block for block in page.split("\n\n") if block.startswith("|")]
    return [
        [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()]
        for block in blocks
    ]


def numbers(table: list[list[str]]) -> dict[str, dict[str, float]]:
    """The known numbers of a table by row and column."""
    head, _, *rows = table
    return {
        row[0]: {
            column: float(cell.split(" ")[0])
            for column, cell in zip(head[1:], row[1:], strict=True)
            if cell not in ("-", "nan")
        }
        for row in rows
    }


def penn(corner: Corner) -> None:
    """Two actions of two training and two test videos, and key events in the same folder."""
    for number in range(1, 9):
        action = ("bowl", "squat")[number % 2]
        split = "train" if number <= 4 else "val"
        about = {"action": action, "train": 1 if number <= 4 else -1, "nframes": FRAMES}
        corner.mat(f"labels/{number:04}.mat", about)
        corner.jpegs(f"frames/{number:04}")
        path = corner.root / f"events/{split}/{action}/{number:04}"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, PHASES)


def ucf(corner: Corner, names: Callable[[str, int], str]) -> list[str]:
    """Videos of two actions, three of each group 1 to 3."""
    videos = [names(action, group) for action in ("Biking", "Bowling") for group in range(1, 4)]
    corner.video(*(f"{name}.avi" for name in videos))
    return videos


def ucf101(corner: Corner) -> None:
    videos = ucf(corner, lambda action, group: f"{action}/v_{action}_g{group:02}_c01")
    for split in (1, 2, 3):
        for part in ("train", "test"):
            chosen = [v for v in videos if (f"_g{split:02}_" in v) == (part == "test")]
            corner.put(f"lists/{part}list{split:02}.txt", "\n".join(f"{v}.avi 1" for v in chosen))


def hmdb51(corner: Corner) -> None:
    videos = ucf(corner, lambda action, group: f"{action}/v_{action}_{group}")
    for split in (1, 2, 3):
        for action in ("Biking", "Bowling"):
            mine = [Path(v).name for v in videos if v.startswith(action)]
            # the first of split 3 is not used in it
            uses = [2 if i == split - 1 else int(split < 3 or i > 0) for i in range(3)]
            lines = [f"{name}.avi {use}" for name, use in zip(mine, uses, strict=True)]
            corner.put(f"lists/{action}_test_split{split}.txt", "\n".join(lines))


def kinetics(corner: Corner) -> None:
    rows = {"train": [], "validate": [], "test": []}  # type: dict[str, list[str]]
    for action in ("sailing", "yoga"):
        for split, count in (("train", 2), ("validate", 1), ("test", 1)):
            for i in range(count):
                name = f"{action}{split}{i}"
                corner.video(f"{split}/{name}_000001_000011.mp4")
                rows[split].append(f"{action},{name},1,11,{split}")
    for split, lines in rows.items():
        head = "label,youtube_id,time_start,time_end,split"
        corner.put(f"lists/{split}.csv", "\n".join([head, *lines]))


@pytest.mark.parametrize("name", STUDIES)
def test_what_was_published_is_what_is_printed(name: str) -> None:
    study = STUDIES[name]
    assert {figure.row: dict(figure.values) for figure in study.figures} == FIGURES[name]
    metrics = {metric for figure in study.figures for metric in figure.values} or {"svm"}
    first = "clips" if study.kind == "clips" else "whole"
    rows = [Measured(table, "ours", dict.fromkeys(metrics, 0.5)) for table in (first, "tuned")]
    page = markdown(study, {"seeds": "0"}, summarise([rows]))
    table, tuned = tables(page)
    assert [row[0] for row in table[2:]] == [f"published: {row}" for row in FIGURES[name]] + [
        "ours"
    ]
    cells = [cell for row in table[2:-1] for cell in row[1:] if cell != "-"]
    wanted = [value for row in FIGURES[name].values() for value in row.values()]
    assert sorted(map(float, cells)) == sorted(wanted)
    assert [row[0] for row in tuned[2:]] == ["ours"]  # what is linear stays with what is linear


def test_penn_action(corner: Corner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    penn(corner)
    out, recipe = tmp_path / "out", tiny("carl-penn")
    arguments: dict[str, Any] = {"recipe": recipe, "weights": "random", "seeds": (0, 3)}
    done = reproduce("carl-penn", corner.root, out, **arguments)
    assert done.path.read_text() == done.markdown
    assert "one joint model" in done.markdown.lower()
    assert "start: random weights (published: a ResNet-50 of BYOL" in done.markdown
    assert "method.frames 6 (published: 80)" in done.markdown
    assert "data.epochs 0 (published: 300)" in done.markdown
    assert "4 test, 4 train, 2 missing (videos, key events), 0 corrupt" in done.markdown
    whole, shifted = map(numbers, tables(done.markdown))
    baselines = ["clock", "frozen", "untrained", "carl"]
    assert list(whole) == [*(f"published: {row}" for row in FIGURES["carl-penn"]), *baselines]
    assert list(shifted) == baselines
    assert {"cls 10%", "cls 50%", "cls 100%", "tau", "AP@5"} <= set(whole["clock"])
    assert whole["clock"]["tau"] == 1
    assert whole["published: CARL, joint"]["cls 100%"] == 0.9307
    assert "±" in tables(done.markdown)[0][-1][1]  # of the run, over two seeds
    content = json.loads((out / "table.json").read_text())
    assert content["seeds"] == [0, 3]
    assert sum(row["published"] for row in content["rows"]) == 5
    for seed in (0, 3):
        lines = (out / f"seed-{seed}" / "scores-all.csv").read_text().splitlines()
        assert {"bowl", "squat"} <= {cell for line in lines for cell in line.split(",")}
        about = json.loads((out / f"seed-{seed}" / "run" / "run.json").read_text())
        assert (about["recipe"]["seed"], about["videos"]) == (seed, 4)

    # the same call has nothing left to do
    monkeypatch.setattr(scoring, "evaluate", None)
    again = reproduce("carl-penn", corner.root, out, **arguments)
    assert tables(again.markdown) == tables(done.markdown)
    with pytest.raises(ConfigError, match="other settings"):
        reproduce(
            "carl-penn",
            corner.root,
            out,
            weights="random",
            recipe=replace(recipe, seed=0, data=replace(recipe.data, steps=2)),
        )
    with pytest.raises(ConfigError, match="not a folder of carl-pouring"):
        reproduce("carl-pouring", corner.root, out, weights="random")
    (out / "seed-0" / "scores.json").write_text("{")
    with pytest.raises(StorageError, match=r"scores\.json is damaged"):
        reproduce("carl-penn", corner.root, out, **arguments)


def test_pouring(corner: Corner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corner.put("pouring_train-0-of-2.tfrecord", recording("one") + recording("two"))
    corner.put("pouring_val-0-of-1.tfrecord", recording("three") + recording("four"))
    strides = []
    real = scoring.evaluate

    def evaluate(*given: Any, stride: int, **more: Any) -> Any:
        strides.append(stride)
        return real(*given, stride=stride, **more)

    monkeypatch.setattr(scoring, "evaluate", evaluate)
    settings = ["data.steps=1", "data.epochs=0", "data.workers=0", "encoder.backbone=resnet18"]
    settings += ["encoder.size=32", "encoder.frozen=all", "method.frames=6", "encoder.width=32"]
    monkeypatch.chdir(tmp_path)
    given = ["--data", str(corner.root), "--weights", "random"]
    main(["reproduce", "carl-pouring", *given, "--set", *settings])
    whole, _ = map(numbers, tables((tmp_path / "carl-pouring" / "table.md").read_text()))
    assert whole["published: CARL"]["cls 100%"] == 0.9373
    assert list(whole)[1:] == ["clock", "frozen", "untrained", "carl"]
    assert strides == [5]


def test_weights_from_elsewhere(corner: Corner, tmp_path: Path) -> None:
    corner.put("pouring_train-0-of-1.tfrecord", recording("one") + recording("two"))
    corner.put("pouring_val-0-of-1.tfrecord", recording("three") + recording("four"))
    address = "https://example.org/byol.pth"  # without a checksum it is not even asked for
    with pytest.raises(ConfigError, match=f"{address} says nothing of what the file must be"):
        reproduce("carl-pouring", corner.root, tmp_path / "out", weights=address)
    given = {"weights": f"{address}#sha256={'0' * 64}", "recipe": tiny("carl-pouring")}
    wanted = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("marey.models.backbone.locate", wanted.append)
        with pytest.raises(ConfigError, match="No package brings"):  # what None stands for
            reproduce("carl-pouring", corner.root, tmp_path / "out", **given)
    assert wanted == [given["weights"]]


def test_finegym(corner: Corner, tmp_path: Path) -> None:
    finegym(corner)
    recipe = tiny("carl-finegym")
    given: dict[str, Any] = {"recipe": recipe, "weights": "random"}
    done = reproduce("carl-finegym", corner.root, tmp_path / "one", **given)
    assert "gym288: its lists are not there" in done.markdown
    whole, shifted = map(numbers, tables(done.markdown))
    for table in (whole, shifted):
        assert list(table)[-4:] == ["clock", "frozen", "untrained", "carl"]
        assert set(table["carl"]) == {"FineGym99"}
    assert whole["published: CARL (as a later paper quotes it)"] == {"FineGym99": 0.604}
    for part in ("train_element_v1.1", "val_element"):
        listed = (corner.root / f"gym99_{part}.txt").read_text()
        corner.put(f"gym288_{part}.txt", listed.replace(" 4", " 9"))
    done = reproduce("carl-finegym", corner.root, tmp_path / "two", **given)
    whole, _ = map(numbers, tables(done.markdown))
    assert set(whole["carl"]) == {"FineGym99", "FineGym288"}
    # of the three labelled events that are scored none shows an element that was learned
    assert whole["carl"]["FineGym99"] == 0


def test_ucf101_and_hmdb51_with_its_network(corner: Corner, tmp_path: Path) -> None:
    ucf101(corner)
    out = tmp_path / "ucf"
    given: dict[str, Any] = {"weights": "random", "recipe": tiny("mcl-ucf101"), "tuning_epochs": 1}
    done = reproduce("mcl-ucf101", corner.root, out, **given)
    linear_table, tuned = map(numbers, tables(done.markdown))
    rows = ["chance", "frozen", "untrained", "mcl"]
    assert list(linear_table)[2:] == rows
    for row in rows:
        splits = [linear_table[row][f"SVM {i}"] for i in (1, 2, 3)]
        assert linear_table[row]["SVM"] == pytest.approx(np.mean(splits), abs=1e-4)
    assert linear_table["chance"]["SVM"] == 0.5
    assert tuned["chance"] == {"accuracy": 0.5}
    assert set(tuned) == {"chance", "fine-tuned"}
    assert "fine-tuning: 1 epochs" in done.markdown
    about = json.loads((out / "seed-0" / "run" / "run.json").read_text())
    assert about["videos"] == 4  # the training videos of split 1

    other = Corner(tmp_path / "other")
    hmdb51(other)
    with pytest.raises(ConfigError, match="name the --out of mcl-ucf101 or mcl-kinetics"):
        reproduce("mcl-hmdb51", other.root, tmp_path / "hmdb")
    with pytest.raises(ConfigError, match="trains nothing"):
        reproduce("mcl-hmdb51", other.root, tmp_path / "hmdb", trained=out, weights="random")
    done = reproduce("mcl-hmdb51", other.root, tmp_path / "hmdb", trained=out, tuning_epochs=0)
    (linear_table,) = map(numbers, tables(done.markdown))
    assert list(linear_table) == rows
    assert "network: of mcl-ucf101" in done.markdown
    assert "fine-tuning: left out" in done.markdown
    assert {"SVM", "SVM 1", "SVM 2", "SVM 3"} <= set(linear_table["mcl"])
    with pytest.raises(ConfigError, match="trains its own network"):
        reproduce("mcl-ucf101", corner.root, out, trained=out, **given)


def test_kinetics(corner: Corner, tmp_path: Path) -> None:
    kinetics(corner)
    given: dict[str, Any] = {"weights": "random", "recipe": tiny("mcl-kinetics")}
    done = reproduce("mcl-kinetics", corner.root, tmp_path / "out", **given)
    (table,) = map(numbers, tables(done.markdown))
    assert table["published: MCL, linear"] == {"linear": 0.6662}
    assert list(table)[1:] == ["chance", "frozen", "untrained", "mcl"]
    assert table["chance"] == {"linear": 0.5}
    assert "2 test, 4 train, 2 val" in done.markdown


def test_what_has_to_be_said_first(corner: Corner, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="no study 'carl'; there are carl-penn"):
        reproduce("carl", corner.root, out)
    with pytest.raises(ConfigError, match=r"starts from a ResNet-50 of MoCo v2.*--weights random"):
        reproduce("mcl-ucf101", corner.root, out)
    with pytest.raises(CheckpointError, match=r"no weights file byol\.pth; check --weights"):
        reproduce("carl-pouring", corner.root, out, weights="byol.pth")
    with pytest.raises(ConfigError, match="at least one seed"):
        reproduce("mcl-ucf101", corner.root, out, seeds=(1, 1))
    with pytest.raises(ManifestError, match="holds neither pouring_train"):
        reproduce("carl-pouring", corner.root, out, weights="random")
    corner.video("train/a.mp4", "val/b.mp4")  # without phases
    with pytest.raises(ManifestError, match=r"there are 0 labelled videos"):
        reproduce("carl-pouring", corner.root, out, weights="random")
    assert not (out / "seed-0").exists()


def test_settings_are_changed_one_by_one() -> None:
    published = STUDIES["mcl-ucf101"].recipe
    assert published is not None
    recipe = published()
    ours = changed(recipe, ["data.epochs=3", "augment.area=0.5,1", "optimizer.lr=0.5",
                            "method.focus_space=false", "method.engine=tvl1"])  # fmt: skip
    assert departures(ours, recipe) == {
        "data.epochs": (3, 200),
        "augment.area": ((0.5, 1.0), (0.2, 1.0)),
        "optimizer.lr": (0.5, 0.01),
        "method.focus_space": (False, True),
        "method.engine": ("tvl1", "dis"),
    }
    assert changed(recipe, []) == recipe
    for setting, words in {
        "data.epochs": "sets nothing",
        "data.epoch=3": "there is no setting 'data.epoch'; where 'epoch' stands there are videos",
        "data.epochs=x": "needs a value like 200",
        "data=3": "does not name one setting",
        "data.epochs.x=3": "does not name one setting",
        "augment.area=1": "needs a value like",
        "method.focus_space=perhaps": "needs a value like True",
        "method.engine=psychic": "is none of dis, farneback",
    }.items():
        with pytest.raises(ConfigError, match=words):
            changed(recipe, [setting])


def test_mean_and_spread_over_seeds() -> None:
    seeds = [[Measured("whole", "clock", {"tau": value})] for value in (0.5, 0.6, 0.7)]
    (row,) = summarise(seeds)
    assert (row.mean["tau"], row.spread["tau"]) == (pytest.approx(0.6), pytest.approx(0.1))
    (row,) = summarise(seeds[:1])
    assert np.isnan(row.spread["tau"])
    seeds[1][0] = Measured("whole", "clock", {})
    (row,) = summarise(seeds)
    assert np.isnan(row.mean["tau"])
