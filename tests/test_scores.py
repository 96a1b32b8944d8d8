"""Tables of scores and the report around them."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from marey import demonstration
from marey.demonstration import demo
from marey.errors import ConfigError, ManifestError
from marey.evaluation.protocol import evaluate
from marey.evaluation.scores import Row, Scores
from marey.manifest import Manifest


@pytest.fixture
def scores() -> Scores:
    rows = [
        Row("clock", shifted, action, {"ap5": ap, "error_dtw": 0.4, "tau": math.nan})
        for shifted, ap in ((False, 0.9), (True, 0.5))
        for action in ("jump", "run")
    ]
    rows += [
        Row("carl", shifted, action, {"ap5": ap, "error_dtw": 0.2, "tau": 0.25})
        for shifted in (False, True)
        for action, ap in (("jump", 0.6), ("run", 0.8))
    ]
    return Scores(tuple(rows), (), "run", "labels.csv")


def test_means_are_over_actions_that_have_the_metric(scores: Scores) -> None:
    assert scores.embeddings == ["clock", "carl"]
    assert scores.mean("carl", True, "ap5") == pytest.approx(0.7)
    assert math.isnan(scores.mean("clock", True, "tau"))
    assert math.isnan(scores.mean("nobody", True, "ap5"))


def test_best_is_least_for_errors_and_most_for_the_rest(scores: Scores) -> None:
    whole, shifted = scores.grids(["ap5", "error_dtw"])
    assert whole.best(0) == pytest.approx(0.9)
    assert shifted.best(0) == pytest.approx(0.7)
    assert shifted.best(1) == pytest.approx(0.2)


def test_every_form_of_the_table_says_the_same(scores: Scores, tmp_path: Path) -> None:
    lines = scores.markdown().splitlines()
    assert "| clock | **0.900** | 0.400 | - |" in lines
    assert "| carl | **0.700** | **0.200** | **0.250** |" in lines
    assert "<tr><th>clock</th><td class='best'>0.900</td>" in scores.html()
    rows = list(csv.DictReader(io.StringIO(scores.csv())))
    means = {(r["embedding"], r["videos"]): r["ap5"] for r in rows if r["action"] == "mean"}
    assert means == {
        ("clock", "whole"): "0.900000",
        ("clock", "shifted"): "0.500000",
        ("carl", "whole"): "0.700000",
        ("carl", "shifted"): "0.700000",
    }
    for ending in ("csv", "md", "html"):
        scores.write(tmp_path / f"scores.{ending}")
        assert (tmp_path / f"scores.{ending}").stat().st_size > 100
    with pytest.raises(ConfigError, match=r"\.csv, \.md or \.html"):
        scores.write(tmp_path / "scores.xls")
    text = io.StringIO()
    scores.show(Console(file=text, width=80))
    assert text.getvalue().count("0.700") == 2


def test_labels_must_name_both_splits(run: Path, world: Path) -> None:
    manifest = Manifest.read(world)
    with pytest.raises(ManifestError, match="split `train` and of another"):
        evaluate(run, manifest.select(split="test"))


def test_the_protocol_has_every_baseline_whole_and_shifted(run: Path, world: Path) -> None:
    scores = evaluate(run, world)
    assert scores.embeddings == ["clock", "frozen", "untrained", "carl"]
    for shifted in (False, True):
        assert scores.mean("clock", shifted, "tau") > 0.95
        assert abs(scores.mean("untrained", shifted, "tau")) < 0.5
    assert scores.mean("clock", True, "ap5") < scores.mean("clock", False, "ap5")
    again = evaluate(run, world)
    assert again.csv() == scores.csv()


def test_demo_on_ones_own_folder(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstration, "RECIPE", "carl_tiny")
    done = demo(tmp_path / "demo", world.parent / "train")
    assert done.files[0].name == "report.html"
    assert all(path.stat().st_size > 0 for path in done.files)
    page = done.files[0].read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3  # strip, similarity, loss
    assert "pair.mp4" in page
    assert "<table>" not in page  # nothing is known of a folder's phases


def test_a_demo_needs_enough_videos(world: Path, tmp_path: Path) -> None:
    two = [entry.path for entry in Manifest.read(world).entries[:2]]
    with pytest.raises(ManifestError, match="needs 4"):
        demonstration._divide(Manifest.of(two))
