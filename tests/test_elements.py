"""What is done in a frame, read from its embedding: by the run, and by those that know nothing."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from marey import checkpoint
from marey.cli import main
from marey.datasets.labels import names_elements
from marey.embedding import Model
from marey.errors import ConfigError, ManifestError
from marey.evaluation import elements, protocol
from marey.evaluation.elements import evaluate_elements
from marey.evaluation.protocol import evaluate
from marey.manifest import Entry, Manifest
from marey.methods.base import Method
from marey.recipes import carl_tiny
from marey.video import write

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])


class Colour(Method):
    """A frame's mean colour; or, blind, always the same one."""

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

    def features(self, pixels: Tensor) -> Tensor:
        return pixels[:, 0].mean((2, 3))

    def relate(self, rows: Tensor, times: Tensor, valid: Tensor | None = None) -> Tensor:
        rows = torch.ones_like(rows) if self.blind else rows
        return torch.nn.functional.normalize(rows, dim=-1)


def spans(numbers: list[tuple[int, int, int]]) -> str:
    return " ".join(f"{first}-{last}:{number}" for first, last, number in numbers)


@pytest.fixture(scope="module")
def gym(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Videos of three colours in turns, each an element; what is between them has no name."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("gym")
    entries = []
    for i in range(10):
        order = rng.permutation(3)
        blocks = [np.full((8, 3), COLOURS[c]) for c in order]
        colours = np.concatenate([np.full((2, 3), 120), *blocks, np.full((3, 3), 0)])
        path = folder / f"{i}.mp4"
        write(path, np.broadcast_to(colours[:, None, None], (29, 32, 32, 3)).astype(np.uint8), 25)
        text = spans([(2 + 8 * k, 9 + 8 * k, int(c) * 5) for k, c in enumerate(order)])
        split = "train" if i < 6 else "val"
        entries.append(Entry(path.name, path, split, extra={"elements": text}))
    (folder / "notes.mp4").write_text("no video")
    entries.append(Entry("notes", folder / "notes.mp4", "val", extra={"elements": "0-1:0"}))
    short = Entry("short", folder / "copy.mp4", "val", extra={"elements": "0-99:0"})
    short.path.write_bytes(entries[0].path.read_bytes())
    return Manifest((*entries, short))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(checkpoint, "load_method", lambda run, device: Colour())
    monkeypatch.setattr(protocol, "build", lambda recipe, pretrained: Colour(blind=True))
    return Path("run")


def test_colours_name_the_elements_and_blindness_does_not(
    run: Path, gym: Manifest, tmp_path: Path
) -> None:
    scores = evaluate_elements(run, gym, scratch=tmp_path / "scratch")
    assert scores.embeddings == ["clock", "frozen", "untrained", "carl"]
    assert scores.metrics == ["elements"]
    assert scores.mean("carl", False, "elements") == 1
    assert scores.mean("carl", True, "elements") == 1
    assert scores.mean("frozen", False, "elements") == 1
    assert scores.mean("untrained", False, "elements") == pytest.approx(1 / 3)
    assert scores.mean("clock", False, "elements") < 0.7
    assert [name for name, _ in scores.left_out] == ["notes", "short"]
    assert list((tmp_path / "scratch").iterdir()) == []
    scores.write(tmp_path / "scores.md")
    assert (tmp_path / "scores.md").read_text().count("| carl |") + (
        tmp_path / "scores.md"
    ).read_text().count("| **carl** |") == 2
    assert evaluate_elements(run, gym, baselines=False).embeddings == ["carl"]


def test_every_labelled_frame_counts_once_and_no_other(
    run: Path, gym: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def remember(train, y, test, truth, where):  # type: ignore[no-untyped-def]
        seen.append((train.shape, np.bincount(y).tolist(), test.shape, np.bincount(truth).tolist()))
        return 0.5

    monkeypatch.setattr(elements, "linear_accuracy", remember)
    scores = evaluate_elements(Model(run), gym, baselines=False)
    each, others = [0] * 4, [32, *[0] * 4, 32, *[0] * 4, 32]
    assert seen[0] == ((144, 3), [48, *each, 48, *each, 48], (96, 3), others)
    train, _, test, _ = seen[1]  # shifted videos have lost some
    assert train[0] < 144
    assert test[0] < 96
    assert scores.mean("carl", True, "elements") == 0.5


def test_the_command_scores_whatever_labels_the_table_has(
    run: Path,
    gym: Manifest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(elements, "linear_accuracy", lambda *vectors, where: 0.25)
    table, out = tmp_path / "gym.csv", tmp_path / "scores.csv"
    gym.write(table)
    main(["eval", str(run), str(table), "--out", str(out)])
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert {row["embedding"] for row in rows} == {"clock", "frozen", "untrained", "carl"}
    assert {float(row["elements"]) for row in rows} == {0.25}
    assert "2 videos were left out" in capsys.readouterr().err
    with pytest.raises(ManifestError, match=r"marey\.evaluate_elements"):
        evaluate(run, table)
    # boundaries are what is scored where there are both
    both = Manifest(tuple(replace(entry, boundaries=(10, 18)) for entry in gym))
    assert names_elements(gym)
    assert not names_elements(both)


def test_what_cannot_be_scored_is_told(
    run: Path, gym: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for some in (
        gym.select(split="train"),
        gym.select(split="val"),
        Manifest(tuple(replace(entry, extra={}) for entry in gym)),
    ):
        with pytest.raises(ManifestError, match="with elements both of the split `train`"):
            evaluate_elements(run, some)
    unreadable = Manifest((*gym.select(split="train"), gym.entries[10]))
    with pytest.raises(ManifestError, match="No labelled frame is left"):
        evaluate_elements(run, unreadable)
    monkeypatch.setattr(Colour, "embeds", "clip")
    with pytest.raises(ConfigError, match="embeds clips"):
        evaluate_elements(run, gym)
