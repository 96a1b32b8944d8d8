"""MCL as a method: its parts, its second derivatives, its slow copy, on one process and on two."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from marey.augment import crop_resize
from marey.config import ClipEncoderConfig, MclConfig, Recipe
from marey.distributed import Rank
from marey.errors import CheckpointError, ConfigError
from marey.evaluation.clips import evaluate_clips
from marey.manifest import Manifest
from marey.methods import build, find
from marey.methods.mcl import Mcl
from marey.models.clip_encoder import NETWORKS, STRIDES, ClipEncoder
from marey.models.resnet import resnet50
from marey.motion import MotionMaps, motion_maps, st_maps
from marey.recipes import RECIPES, mcl_tiny
from marey.synthetic.world import render_world
from marey.training import read_log, train
from marey.types import Flow, VideoInfo, View
from mcl_step import batch_of, step, still_norms

OFF = {
    "focus_time": 0.0,
    "focus_space": False,
    "spatiotemporal": 0.0,
    "spatial": 0.0,
    "temporal": 0.0,
    "intra": 0.0,
    "order": 0.0,
}


def tiny(**changes: object) -> Recipe:
    recipe = mcl_tiny()
    assert isinstance(recipe.method, MclConfig)
    return replace(recipe, method=replace(recipe.method, queue=64, **changes))  # type: ignore[arg-type]


def noise(batch: int = 4, seed: int = 0, recipe: Recipe | None = None) -> dict[str, Tensor]:
    recipe = recipe or tiny()
    assert isinstance(recipe.method, MclConfig)
    rng = np.random.default_rng(seed)
    frames, size = recipe.method.length, recipe.encoder.size
    slices, cells = frames // 4, size // 16
    shapes = {
        "inputs": (batch, 4, frames, 3, size, size),
        "motion": (batch, 4, slices, cells, cells),
    }
    made = {name: torch.from_numpy(rng.normal(size=shape)) for name, shape in shapes.items()}
    made["motion"] = made["motion"].abs()
    made["order"] = torch.from_numpy(rng.integers(2, size=batch))[:, None].repeat(1, 4)
    return made


def squares() -> tuple[MotionMaps, np.ndarray]:
    """Flow of a video of 100 frames: one small square moves, left of the middle and high up."""
    vectors = np.zeros((99, 2, 56, 56), np.float32)
    vectors[:, 0, 10:22, 8:20] = 4.0
    settings = find(tiny()).motion(tiny())
    assert settings is not None
    flows = [Flow(vectors, np.arange(99))]
    return motion_maps(flows, window=settings.window, clip=settings.clip), vectors


def look(recipe: Recipe, seed: int, maps: MotionMaps | None) -> list[View]:
    info = VideoInfo(Path("v"), 112, 112, np.arange(100) / 25)
    return find(recipe).views(recipe, info, np.random.default_rng(seed), maps)


def test_two_processes_step_as_one_of_twice_the_batch(tmp_path: Path) -> None:
    tensors = noise()
    save_file(tensors, tmp_path / "batch.safetensors")
    script = Path(__file__).with_name("mcl_step.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    one = step(tensors, [slice(None)], Rank())
    ranks = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    for two in ranks:
        assert two.keys() == one.keys()
        for key in one:
            torch.testing.assert_close(two[key], one[key], msg=key)
    assert torch.equal(ranks[0]["queue.vectors"], ranks[1]["queue.vectors"])
    assert ranks[0]["queue.pointer"] == 3 * 4


def test_accumulated_parts_step_as_the_whole() -> None:
    tensors = noise()
    whole = step(tensors, [slice(None)], Rank())
    parts = step(tensors, [slice(0, 2), slice(2, 4)], Rank())
    for key in whole:
        torch.testing.assert_close(parts[key], whole[key], msg=key)


@pytest.mark.parametrize("term", ["spatiotemporal", "spatial", "temporal"])
def test_the_alignment_reaches_the_weights_as_finite_differences_say(term: str) -> None:
    """The loss holds a gradient, so its own gradient takes second derivatives of the network."""
    weights = {**OFF, "warm_alignment": 1.0, term: 1.0}
    torch.manual_seed(0)
    method = build(tiny(**weights)).double()
    assert isinstance(method, Mcl)
    still_norms(method.train())
    batch = batch_of(noise(2), slice(None))

    def loss() -> Tensor:
        method.new_keys.clear()
        output = method(batch)
        return output.loss - output.terms["inter"]

    for name in ("encoder.backbone.layer2.0.conv1.weight", "encoder.heads.inter.0.weight"):
        weight = method.get_parameter(name)
        base = torch.autograd.grad(method(batch).loss, weight)[0]
        plain = build(tiny(**OFF)).double()
        plain.load_state_dict(method.state_dict())
        assert isinstance(plain, Mcl)
        still_norms(plain.train())
        (contrast,) = torch.autograd.grad(plain(batch).loss, plain.get_parameter(name))
        aligned = base - contrast  # what the alignment alone adds
        direction = torch.randn_like(weight)
        width = 1e-6
        with torch.no_grad():
            weight += width * direction
        above = loss().item()
        with torch.no_grad():
            weight -= 2 * width * direction
        below = loss().item()
        with torch.no_grad():
            weight += width * direction
        assert aligned.abs().max() > 0
        expected = (above - below) / (2 * width)
        assert (aligned * direction).sum().item() == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_bf16_gives_nearly_the_gradient_of_float32() -> None:
    batch = batch_of(
        {k: v.float() if v.is_floating_point() else v for k, v in noise().items()}, slice(None)
    )
    gradients = []
    for low in (False, True):
        method = build(tiny()).train()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = method(batch).loss
        assert loss.dtype == torch.float32
        loss.backward()
        gradients.append(
            torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])
        )
    assert torch.isfinite(gradients[1]).all()
    assert torch.cosine_similarity(*gradients, dim=0) > 0.9  # of the contrast alone it is 0.96


def test_the_slow_network_follows_and_is_not_trained() -> None:
    method = build(tiny(momentum=0.75)).train()
    assert isinstance(method, Mcl)
    fast = dict(method.encoder.named_parameters())
    slow = dict(method.slow.named_parameters())
    assert all(torch.equal(fast[k], slow[k]) for k in fast)
    assert not any(p.requires_grad for p in slow.values())
    before = {k: p.detach().clone() for k, p in slow.items()}
    with torch.no_grad():
        for p in fast.values():
            p += 1
    batch = batch_of(
        {k: v.float() if v.is_floating_point() else v for k, v in noise().items()}, slice(None)
    )
    method(batch).loss.backward()
    assert all(p.grad is None for p in slow.values())
    method.after_step()
    for key in fast:
        torch.testing.assert_close(slow[key], before[key] + 0.25, msg=key)


@pytest.mark.parametrize("part", list(OFF))
def test_every_part_can_be_taken_out(part: str) -> None:
    recipe = tiny(**{part: OFF[part]})
    maps, _ = squares()
    assert look(recipe, 0, maps)[0].extra.keys() == {"order", "motion"}
    terms = (
        build(recipe)
        .train()(
            batch_of(
                {k: v.float() if v.is_floating_point() else v for k, v in noise().items()},
                slice(None),
            )
        )
        .terms
    )
    assert "inter" in terms
    if part in ("intra", "order"):
        assert part not in terms
        assert not any(part in key for key in build(recipe).state_dict())


def test_without_motion_no_motion_is_asked_for() -> None:
    recipe = tiny(**OFF)
    assert find(recipe).motion(recipe) is None
    views = look(recipe, 0, None)
    assert views[0].extra.keys() == {"order"}
    method = build(recipe).train()
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in noise().items()}
    assert method(batch_of(tensors, slice(None))).terms.keys() == {"inter"}
    # a part less is motion still
    for part in ("focus_time", "focus_space", "temporal"):
        one = tiny(**{**OFF, part: getattr(MclConfig(), part)})
        assert find(one).motion(one) is not None


def test_crops_keep_what_moves_and_take_its_map_along() -> None:
    maps, vectors = squares()
    mean_cover: dict[bool, float] = {}
    for focus in (True, False):
        covers = []
        for seed in range(60):
            recipe = tiny(focus_space=focus)
            query = look(recipe, seed, maps)[0]
            top, left, height, width = query.draw.box
            inside = [
                max(0.0, min(top + height, 22 / 56) - max(top, 10 / 56)),
                max(0.0, min(left + width, 20 / 56) - max(left, 8 / 56)),
            ]
            covers.append(inside[0] * inside[1] / (12 / 56) ** 2)
            cropped = crop_resize(
                torch.from_numpy(vectors[query.index]),
                query.draw.box,
                query.draw.flip,
                48,
                flow=True,
            )
            want = st_maps(cropped.numpy(), 2, cells=3)
            got = query.extra["motion"]
            assert got.shape == (2, 3, 3)
            if covers[-1] == 1:
                assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.85
        mean_cover[focus] = float(np.mean(covers))
    assert mean_cover[True] > 0.85
    assert mean_cover[False] < 0.75


def test_keys_are_the_same_clip_and_two_others() -> None:
    maps, _ = squares()
    for seed in range(20):
        query, same, *others = look(tiny(), seed, maps)
        assert (query.index == same.index).all()
        assert query.draw != same.draw
        ends = [(view.index[0], view.index[-1]) for view in others]
        assert ends == sorted(ends)
        if query.extra["order"]:
            assert query.index[-1] < ends[0][0]
        else:
            assert ends[-1][1] < query.index[0]


@pytest.mark.parametrize("frames", [1, 5, 8, 9, 31, 200])
def test_rows_of_an_embedding_reach_from_the_first_frame_to_the_last(frames: int) -> None:
    recipe = tiny()
    units = find(recipe).units(recipe, frames)
    assert units.shape[1] == 8
    assert units[0, 0] == 0
    assert units[-1, -1] == frames - 1
    assert (np.diff(units[:, 0]) > 0).all()
    assert (np.diff(units[:, 0]) <= 4).all()
    few = find(recipe).units(recipe, frames, 3)
    assert len(few) == min(3, max(frames - 7, 1))


def test_strides_are_those_of_the_networks() -> None:
    for name, make in NETWORKS.items():
        with torch.device("meta"):
            assert make().strides == STRIDES[name]


def test_weights_of_a_picture_network_are_inflated(tmp_path: Path) -> None:
    torch.manual_seed(3)
    picture = resnet50()
    path = tmp_path / "resnet50.safetensors"
    save_file({f"module.encoder_q.{k}": v for k, v in picture.state_dict().items()}, path)
    network = ClipEncoder(ClipEncoderConfig(weights=str(path)), ["inter"]).backbone
    torch.testing.assert_close(network.conv1.weight[:, :, 1], picture.conv1.weight)
    assert network.conv1.weight[:, :, [0, 2, 3]].abs().max() == 0
    with pytest.raises(CheckpointError, match="only r2plus1d_50 can be grown"):
        ClipEncoder(ClipEncoderConfig(backbone="r2plus1d_small", weights=str(path)), ["inter"])
    own = tmp_path / "own.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, own)
    again = ClipEncoder(ClipEncoderConfig(weights=str(own)), ["inter"]).backbone
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in again.state_dict().items())


def test_clips_too_small_for_the_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs clips of at least 4 frames and 16 pixels"):
        build(tiny(length=2))


def test_published_recipes_have_the_published_numbers() -> None:
    recipe = RECIPES["mcl_ucf101"]()
    config = recipe.method
    assert isinstance(config, MclConfig)
    assert (config.span, config.queue, config.momentum) == (32, 131_072, 0.999)
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.data.epochs) == ("sgd", 0.01, 200)
    kinetics = RECIPES["mcl_kinetics"]()
    assert isinstance(kinetics.method, MclConfig)
    assert (kinetics.method.order, kinetics.optimizer.lr, kinetics.data.epochs) == (0, 0.02, 400)


def test_learns_to_look_where_it_moves_and_what_is_done(tmp_path: Path) -> None:
    """Far above chance on three actions of people whose manners differ little.

    A network of random weights is above chance there too (0.6 to 0.8 by SVM; trained, over four
    seeds, 0.6 to 0.9), so the scores alone do not show that anything is learned. That the gradient
    follows the motion better than at the start does (0.02 to 0.05 better over these seeds).
    """
    world = render_world(
        tmp_path / "world",
        videos=90,
        actions=("golf_swing", "front_kick", "sit_up"),
        size=(64, 64),
        split=1 / 3,
        fps=(12.0, 15.0),
        variety=0.1,
        workers=1,
    )
    manifest = Manifest.read(world)
    done = train(manifest.select(split="train"), tmp_path / "run", mcl_tiny())
    log = read_log(done.run)
    early, late = (
        float(np.mean([line["spatiotemporal"] for line in part])) for part in (log[:4], log[-4:])
    )
    assert late > early + 0.005
    scores = evaluate_clips(done.run, manifest, clips=5, baselines=("chance",))
    for metric in ("svm", "linear"):
        assert scores.mean("mcl", metric) > scores.mean("chance", metric) + 0.2, metric
