"""The command line: a thin face, quick to answer, one sentence when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from marey.cli import COMMANDS, main
from marey.manifest import Manifest


def failing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 1
    text = capsys.readouterr().err.strip().splitlines()[-1]
    assert text.startswith("marey: ")
    return text


def test_the_surface_is_frozen() -> None:
    assert list(COMMANDS) == [
        "train",
        "embed",
        "align",
        "search",
        "eval",
        "finetune",
        "export",
        "motion",
        "prepare",
        "bench",
        "reproduce",
        "doctor",
        "demo",
    ]


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    text = capsys.readouterr().out
    assert all(f"marey {name}" in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_train_embed_align_eval(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, test = tmp_path / "run", Manifest.read(world).select(split="test").entries
    settings = ["--data.steps", "3", "--data.copies", "1", "--split", "train"]
    main(["train", "carl_tiny", str(world), "--out", str(run), *settings])
    assert json.loads((run / "run.json").read_text())["recipe"]["data"]["steps"] == 3
    main(
        ["embed", str(run), *[str(e.path) for e in test[:2]], "--out", str(tmp_path / "e.parquet")]
    )
    a, b = str(test[0].path), str(test[1].path)
    main(["align", str(run), a, b, "--out", str(tmp_path / "p.csv"), str(tmp_path / "p.png")])
    assert "alignability" in capsys.readouterr().out
    main(["eval", str(run), str(world), "--out", str(tmp_path / "s.csv"), str(tmp_path / "s.md")])
    text = capsys.readouterr().out
    assert all(row in text for row in ("clock", "frozen", "untrained", "carl", "Shifted"))
    assert (tmp_path / "s.md").read_text().count("| clock |") == 2


def test_settings_of_every_method_can_be_given(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ["--data.steps", "1", "--data.copies", "1", "--method.gamma", "0.3"]
    main(["train", "lav_tiny", str(world), "--out", str(run), "--split", "train", *settings])
    recipe = json.loads((run / "run.json").read_text())["recipe"]
    assert (recipe["method"]["name"], recipe["method"]["gamma"]) == ("lav", 0.3)


def test_a_training_says_within_which_actions_it_compares(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for entry in Manifest.read(world).select(split="test"):
        link = tmp_path / "videos" / entry.action / entry.path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(entry.path.resolve())
    actions = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert len(actions) > 1
    settings = ["--data.steps", "1", "--data.copies", "1", "--data.videos", "4"]

    def said(name: str, videos: Path) -> str:
        main(
            [
                "train",
                name,
                str(videos),
                "--out",
                str(tmp_path / f"{name}-{videos.name}"),
                *settings,
            ]
        )
        return capsys.readouterr().err

    within = f"Videos are compared within {len(actions)} actions ({', '.join(actions)})."
    assert within in said("tcc_tiny", tmp_path / "videos")
    assert "compared" not in said("carl_tiny", tmp_path / "videos")
    alone = tmp_path / "videos" / actions[0]
    assert "No action is known: all videos are compared" in said("tcc_tiny", alone)


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    text = capsys.readouterr().out
    assert all(word in text for word in ("marey", "torch", "bf16", "compiling"))


def test_bad_input_is_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    out = ["--out", str(tmp_path / "run")]
    assert "holds no videos" in failing(["train", str(tmp_path / "empty"), *out], capsys)
    assert "does not exist" in failing(["train", str(tmp_path / "nowhere"), *out], capsys)
    assert "no run folder" in failing(["align", str(tmp_path / "no"), "a.mp4", "b.mp4"], capsys)
    assert "a.mp4" in failing(["align", str(run), "a.mp4", "b.mp4"], capsys)
    fake = tmp_path / "fake.mp4"
    fake.write_text("text")
    assert "fake.mp4" in failing(["train", str(fake), *out], capsys)


def test_an_unknown_command_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["trian"])
    assert caught.value.code == 2
    assert "train, embed, align" in capsys.readouterr().err


def test_what_trainings_need_can_be_prepared(world: Path, tmp_path: Path) -> None:
    cache, run = tmp_path / "cache", tmp_path / "run"
    videos = [str(e.path) for e in Manifest.read(world).select(split="test").entries[:3]]
    main(["prepare", "mcl_tiny", *videos, "--cache", str(cache)])
    kept = {p: p.stat().st_mtime_ns for p in cache.rglob("*.np?")}
    assert len(kept) == 6  # motion and frames of each
    settings = ["--data.steps", "1", "--data.videos", "2"]
    main(["train", "mcl_tiny", *videos, "--out", str(run), "--cache", str(cache), *settings])
    assert kept == {p: p.stat().st_mtime_ns for p in cache.rglob("*.np?")}
    main(["prepare", "carl_tiny", *videos, "--cache", str(cache), "--data.copies", "1"])
    assert len(list(cache.rglob("features.f16"))) == 1
