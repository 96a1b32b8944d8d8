"""What every method must do, whichever it is: over all recipes by behaviour."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from marey import checkpoint
from marey.batches import collate
from marey.config import Recipe
from marey.data import Corpus, survey
from marey.embedding import Model, extract, relate, vectors
from marey.errors import CheckpointError, ConfigError, TrainingError
from marey.evaluation.protocol import evaluate
from marey.manifest import Entry, Manifest
from marey.methods import build, find
from marey.methods.base import FrameMethod
from marey.motion import motion_maps
from marey.recipes import RECIPES, carl_tiny
from marey.training import read_log, train
from marey.types import Batch, Flow, VideoInfo, View

TINY = [name for name in RECIPES if name.endswith("_tiny")]
BETWEEN = ["tcc_tiny", "lav_tiny"]
"""Recipes whose loss compares different videos of one action."""


@pytest.fixture(scope="module")
def few(world: Path) -> Manifest:
    """Four videos, enough to take steps."""
    return Manifest(Manifest.read(world).select(split="train").entries[:4])


def short(recipe: Recipe, steps: int = 4, copies: int = 2) -> Recipe:
    if not build(recipe).cacheable:
        copies = 0
    return replace(
        recipe, data=replace(recipe.data, steps=steps, videos=2, copies=copies, workers=0)
    )


def look(recipe: Recipe, frames: int, seed: int = 0) -> list[View]:
    """The views of a video of noise, its motion noise too."""
    method, rng = find(recipe), np.random.default_rng(seed)
    info = VideoInfo(Path("v"), 48, 80, np.arange(frames) / 25)
    kind = method.motion(recipe)
    if kind is None:
        return method.views(recipe, info, rng)
    if frames == 1:
        pytest.skip("a single frame has no motion")
    vectors = np.random.default_rng(9).normal(size=(frames - 1, 2, 14, 21)).astype(np.float32)
    flows = [Flow(vectors, np.arange(frames - 1))]
    maps = motion_maps(flows, window=kind.window, clip=kind.clip)
    return method.views(recipe, info, rng, maps)


def random_batch(recipe: Recipe, lengths: tuple[int, ...] = (9, 60)) -> Batch:
    """Noise for features or pixels, the method's own views for everything else."""
    rng = np.random.default_rng(0)
    method = build(recipe)
    infos = tuple(VideoInfo(Path("v"), 48, 80, np.arange(n) / 25) for n in lengths)
    entries = tuple(Entry(f"video {n}", Path("v"), action="jump") for n in lengths)
    corpus = Corpus(entries, infos, ())
    views = [look(recipe, n) for n in lengths]
    side = recipe.encoder.size
    inner = (method.width,) if method.cacheable else (3, side, side)
    shape = (len(views), len(views[0]), len(views[0][0].index), *inner)
    inputs = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
    chosen, cpu = list(range(len(lengths))), torch.device("cpu")
    return collate(inputs, views, corpus, chosen, cpu, 0.5, cached=method.cacheable)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("frames", [1, 2, 17, 300])
def test_views_of_any_video_have_one_shape(name: str, frames: int) -> None:
    views = look(RECIPES[name](), frames)
    assert len({view.index.shape for view in views}) == 1
    for view in views:
        assert view.index.min() >= 0
        assert view.index.max() < frames
        assert view.valid.any()
        assert (np.diff(view.index) >= 0).all()


@pytest.mark.parametrize("name", TINY)
def test_views_are_a_function_of_the_random_numbers_alone(name: str) -> None:
    recipe = RECIPES[name]()
    one, two, other = (look(recipe, 100, seed) for seed in (1, 1, 2))
    assert [v.draw for v in one] == [v.draw for v in two]
    assert all((a.index == b.index).all() for a, b in zip(one, two, strict=True))
    assert [v.draw for v in one] != [v.draw for v in other]


@pytest.mark.parametrize("name", TINY)
def test_loss_is_finite_and_reaches_every_trained_weight(name: str) -> None:
    recipe = RECIPES[name]()
    method = build(recipe).train()
    output = method(random_batch(recipe))
    assert output.loss.ndim == 0
    assert torch.isfinite(output.loss)
    output.loss.backward()
    for key, weight in method.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None, key
            assert torch.isfinite(weight.grad).all(), key


@pytest.mark.parametrize("name", BETWEEN)
def test_a_video_without_a_partner_counts_for_nothing(name: str) -> None:
    recipe = RECIPES[name]()
    method = build(recipe).eval()
    batch = random_batch(recipe, (9, 60, 30))
    batch = replace(batch, group=torch.tensor([0, 0, 1]))
    loss = method(batch).loss
    batch.inputs[2] = 5.0
    assert method(batch).loss == loss
    batch.inputs[1] = 5.0
    assert method(batch).loss != loss


@pytest.mark.parametrize("name", BETWEEN)
def test_a_step_without_two_videos_of_one_action_is_refused(name: str) -> None:
    recipe = RECIPES[name]()
    batch = random_batch(recipe)
    method = build(recipe)
    assert torch.isfinite(method(replace(batch, group=torch.tensor([-1, -1]))).loss)
    for group, videos in (([3, 4], ["a.mp4", "b.mp4"]), ([3, 3], ["a.mp4", "a.mp4"])):
        with pytest.raises(ConfigError, match=r"\(a\.mp4.*data\.together 2 or more"):
            method(replace(batch, group=torch.tensor(group), videos=videos))


@pytest.mark.parametrize("name", TINY)
def test_embeddings_have_unit_norm_and_ignore_padding(name: str) -> None:
    recipe = RECIPES[name]()
    method = build(recipe).eval()
    x = torch.randn(2, 12, method.width)
    times = torch.arange(12).expand(2, 12)
    valid = torch.ones(2, 12, dtype=torch.bool)
    valid[0, 7:] = False
    with torch.inference_mode():
        y = method.encode(x, times, valid)
        x[0, 7:] = 9.0
        z = method.encode(x, times, valid)
    torch.testing.assert_close(y.norm(dim=-1), torch.ones(2, 12))
    torch.testing.assert_close(y[valid], z[valid])


@pytest.mark.parametrize("name", TINY)
def test_fresh_weights_are_a_function_of_the_seed(name: str) -> None:
    recipe = RECIPES[name]()
    states = [
        build(r).state_dict() for r in (recipe, recipe, replace(recipe, seed=recipe.seed + 1))
    ]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert any(not torch.equal(states[0][k], states[2][k]) for k in states[0])


@pytest.mark.parametrize("copies", [0, 2], ids=["pixels", "cached"])
@pytest.mark.parametrize("name", TINY)
def test_a_stopped_training_goes_on_exactly(
    name: str, copies: int, few: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = RECIPES[name]()
    if not copies and getattr(given.encoder, "motion", 0):
        pytest.skip("its motion is read from stored features")
    recipe = short(given, copies=copies)
    if recipe.data.copies != copies:
        pytest.skip("trains its backbone")
    train(few, tmp_path / "whole", recipe)

    real = checkpoint.save

    def save_and_die(folder: Path, method, optimizer, state) -> None:  # type: ignore[no-untyped-def]
        real(folder, method, optimizer, state)
        if state["step"] == 2:
            raise RuntimeError("power cut")

    monkeypatch.setattr(checkpoint, "save", save_and_die)
    with pytest.raises(RuntimeError, match="power cut"):
        train(few, tmp_path / "parts", recipe, save_minutes=0)
    monkeypatch.setattr(checkpoint, "save", real)
    done = train(few, tmp_path / "parts", recipe)
    assert done.steps == 4

    for file in ("model.safetensors", "optimizer.safetensors"):
        one, two = (
            checkpoint.load_tensors(tmp_path / run / "checkpoint" / file)
            for run in ("whole", "parts")
        )
        assert one.keys() == two.keys()
        for key in one:
            assert torch.equal(one[key], two[key]), key


def test_motion_without_stored_features_is_refused() -> None:
    recipe = RECIPES["marey_tiny"]()
    for changed in (
        replace(recipe, data=replace(recipe.data, copies=0)),
        replace(recipe, encoder=replace(recipe.encoder, frozen="none")),
    ):
        with pytest.raises(ConfigError, match="stored features"):
            build(changed)


def test_ctrl_c_keeps_the_step_under_way(
    few: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = short(RECIPES[TINY[0]]())
    method = find(recipe)
    real, calls = method.after_step, []

    def after_step(self) -> None:  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        real(self)

    monkeypatch.setattr(method, "after_step", after_step)
    with pytest.raises(KeyboardInterrupt):
        train(few, tmp_path / "run", recipe)
    assert json.loads((tmp_path / "run" / "checkpoint" / "state.json").read_text())["step"] == 3
    assert train(few, tmp_path / "run", recipe).steps == 4


@pytest.mark.parametrize("name", TINY)
def test_a_finished_training_is_not_repeated(name: str, few: Manifest, tmp_path: Path) -> None:
    recipe = short(RECIPES[name](), steps=2)
    train(few, tmp_path / "run", recipe)
    before = (tmp_path / "run" / "checkpoint" / "state.json").stat().st_mtime_ns
    done = train(few, tmp_path / "run", recipe)
    assert (done.steps, np.isfinite(done.loss)) == (2, True)
    assert (tmp_path / "run" / "checkpoint" / "state.json").stat().st_mtime_ns == before


def test_other_settings_need_another_folder(few: Manifest, tmp_path: Path) -> None:
    recipe = short(RECIPES[TINY[0]](), steps=1)
    train(few, tmp_path / "run", recipe)
    with pytest.raises(ConfigError, match="other settings"):
        train(few, tmp_path / "run", replace(recipe, seed=5))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="not a run folder"):
        train(few, tmp_path / "mine", recipe)


def test_a_loss_that_is_no_number_stops_with_step_and_videos(
    few: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = short(RECIPES[TINY[0]]())
    method, real = find(recipe), find(recipe).forward
    calls = []

    def forward(self, batch):  # type: ignore[no-untyped-def]
        calls.append(batch.videos)
        output = real(self, batch)
        return output if len(calls) < 3 else replace(output, loss=output.loss * float("nan"))

    monkeypatch.setattr(method, "forward", forward)
    with pytest.raises(TrainingError, match=r"nan at step 2 \(videos .*lower") as caught:
        train(few, tmp_path / "run", recipe)
    assert all(name in str(caught.value) for name in calls[-1])


def test_unreadable_videos_are_left_out_and_named(few: Manifest, tmp_path: Path) -> None:
    fake = tmp_path / "notes.mp4"
    fake.write_text("this is no video")
    paths = [entry.path for entry in few] + [fake]
    for copies in (0, 2):
        recipe = short(RECIPES[TINY[0]](), copies=copies)
        done = train(paths, tmp_path / f"run{copies}", recipe)
        assert done.steps == 4
        assert [Path(name).name for name, _ in done.left_out] == ["notes.mp4"]


@pytest.mark.parametrize("name", TINY)
def test_embeddings_do_not_depend_on_chunks(
    name: str, few: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marey import embedding

    method = build(RECIPES[name]()).eval()
    corpus: Corpus = survey(few)
    cpu = torch.device("cpu")
    info = corpus.infos[0]
    whole = extract(method, info, cpu, condensed=True)
    at_once = vectors(
        method, extract(method, info, cpu), type(method).spans(method.recipe, info.frames)[0], cpu
    )
    monkeypatch.setattr(embedding, "CHUNK", 7)
    monkeypatch.setattr(embedding, "UNITS", 5)
    parts = extract(method, info, cpu, condensed=True)
    one, two = (relate(method, [rows], info, "v", cpu).vectors for rows in (whole, parts))
    assert (one * two).sum(1).min() > 0.9999
    assert (one * at_once).sum(1).min() > 0.9999


BASELINES = ("clock", "frozen", "untrained")
LEARNS = {
    "tcc_tiny": (0.6, BASELINES),
    "tcn_tiny": (0.6, BASELINES),
    "sal_tiny": (0.7, BASELINES[2:]),
}
"""What other share than half of its first loss a recipe may end with, and what it has to beat. The
loss of one step of TCC or TCN is noisy. Who cannot tell the order of three frames is at 0.56 of
0.7, and who can is hardly better than a clock."""


@pytest.mark.parametrize("name", [n for n in TINY if find(RECIPES[n]()).embeds == "frame"])
def test_learns_the_tiny_world(name: str, world: Path, tmp_path: Path) -> None:
    """Trained beats clock, frozen and untrained clearly where a clock is no help."""
    share, baselines = LEARNS.get(name, (0.5, BASELINES))
    manifest = Manifest.read(world)
    done = train(manifest.select(split="train"), tmp_path / "run", RECIPES[name]())
    log = read_log(done.run)
    assert log[-1]["loss"] < share * log[0]["loss"]
    model = Model(done.run)
    if isinstance(model.method, FrameMethod):
        scores = evaluate(model, manifest)
        own = model.method.recipe.method.name
        for metric in ("ap5", "classification_100"):
            for baseline in baselines:
                reached = scores.mean(own, True, metric)
                assert reached > scores.mean(baseline, True, metric) + 0.05, (metric, baseline)


def test_a_run_folder_is_checked_before_it_is_believed(few: Manifest, tmp_path: Path) -> None:
    run = train(few, tmp_path / "run", short(RECIPES[TINY[0]](), steps=1)).run
    assert Model(run).method.recipe == short(RECIPES[TINY[0]](), steps=1)
    with pytest.raises(CheckpointError, match="There is no run folder"):
        Model(tmp_path / "none")
    with pytest.raises(CheckpointError, match="not a run folder"):
        Model(tmp_path)

    text = (run / "run.json").read_text()
    (run / "run.json").write_text(json.dumps({**json.loads(text), "format": 99, "marey": "9.1"}))
    with pytest.raises(CheckpointError, match=r"Marey 9\.1 in run format 99"):
        Model(run)
    (run / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        Model(run)
    (run / "run.json").write_text(text)

    weights = run / "checkpoint" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        Model(run)


def test_features_of_a_trained_backbone_are_not_stored(few: Manifest, tmp_path: Path) -> None:
    recipe = carl_tiny()
    recipe = replace(recipe, encoder=replace(recipe.encoder, frozen="none"))
    with pytest.raises(ConfigError, match=r"trains its backbone.*copies 0"):
        train(few, tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", TINY)
def test_accumulated_steps_see_the_videos_of_one_large_step(
    name: str, few: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = short(RECIPES[name](), steps=2)
    seen: list[tuple[str, ...]] = []
    method, real = find(recipe), find(recipe).forward

    def forward(self, batch):  # type: ignore[no-untyped-def]
        seen.append(tuple(batch.videos))
        return real(self, batch)

    monkeypatch.setattr(method, "forward", forward)
    for videos, accumulate in ((4, 1), (2, 2)):
        data = replace(recipe.data, videos=videos, accumulate=accumulate)
        train(few, tmp_path / f"run{videos}", replace(recipe, data=data))
    assert seen[:2] == [seen[2] + seen[3], seen[4] + seen[5]]


def test_float32_is_float32_in_the_frozen_stages_too() -> None:
    recipe = replace(carl_tiny(), precision="fp32")
    recipe = replace(recipe, encoder=replace(recipe.encoder, pool="max"))
    method = build(recipe).eval()
    assert isinstance(method, FrameMethod)
    pixels = torch.randn(2, 1, 3, 48, 48)
    with torch.no_grad():
        want = method.encoder.backbone(pixels[:, 0])[-1].amax((2, 3))
        torch.testing.assert_close(method.features(pixels), want, atol=1e-4, rtol=1e-4)


def test_seeds_share_features_unless_the_backbone_is_theirs(few: Manifest, tmp_path: Path) -> None:
    recipe = short(carl_tiny(), steps=1)
    fresh = replace(recipe, encoder=replace(recipe.encoder, weights="random"))
    for name, given in (("packaged", recipe), ("fresh", fresh)):
        for seed in (0, 1):
            cache, run = tmp_path / name, tmp_path / f"{name}{seed}"
            train(few, run, replace(given, seed=seed), cache=cache)
    exact = replace(recipe, precision="fp32")
    train(few, tmp_path / "exact0", exact, cache=tmp_path / "exact")
    names = {
        folder.name for place in ("packaged", "exact") for folder in (tmp_path / place).iterdir()
    }
    assert len(names) == 2
    assert len(list((tmp_path / "packaged").iterdir())) == 1
    assert len(list((tmp_path / "fresh").iterdir())) == 2
