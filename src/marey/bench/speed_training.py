"""Speed of what runs networks over videos: embedding whole files, and the steps of trainings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from marey.batches import pixel_batches
from marey.bench.speed_cases import OURS, Case, Desk, Measured, Row, Way
from marey.cache import FeatureCache
from marey.config import CarlConfig, ClipEncoderConfig, EncoderConfig, MclConfig, Recipe
from marey.data import LeftOut, Stores, decode_size, survey
from marey.device import precision
from marey.distributed import Rank
from marey.embedding import Model, extract, relate, see
from marey.errors import TrainingError
from marey.manifest import Manifest
from marey.methods import build
from marey.published_recipes import carl_penn, mcl_ucf101
from marey.recipes import carl, marey, mcl
from marey.training import train
from marey.types import Batch
from marey.video import probe, read, stream

MANY = 10**6
"""Pictures or steps, more than any bench comes to: trunks compile, loaders do not run dry."""


def embedding(desk: Desk) -> Measured:
    """Whole files to embeddings, and where the time goes."""
    size = 112 if desk.quick else 224
    recipe = carl()
    encoder = replace(recipe.encoder, size=size)
    yield files(desk, replace(recipe, encoder=encoder), f"efficientnet_lite0, {size} pixels")
    recipe = marey()
    yield files(desk, recipe, f"recipe marey, {recipe.encoder.size} pixels and motion")
    recipe = mcl() if desk.quick else mcl_ucf101()
    assert isinstance(recipe.method, MclConfig)
    shape = f"{recipe.method.length} x {recipe.encoder.size} pixels"
    yield files(desk, recipe, f"{recipe.encoder.backbone}, clips of {shape}")


def files(desk: Desk, recipe: Recipe, what: str, *, rounds: int = 3) -> Case:
    """One file to its embedding by an untrained network of a recipe; inputs: model and path."""
    path = desk.video(240, 320, 100 if desk.quick else 250)
    model = untrained(desk, recipe)
    method, info = model.method, probe(path)
    side = decode_size(recipe.encoder.size)
    pixels = torch.from_numpy(read(path, size=side).pixels)
    units = type(method).units(recipe, info.frames)
    rows = extract(method, info, desk.where, condensed=True)
    if not desk.quick:
        method.expect(MANY)
    ways = {
        OURS: Way(lambda: model.embed(path), info.frames),
        "floor: decoding alone": Way(
            lambda: [len(chunk) for chunk in stream(path, size=side)], info.frames
        ),
        "floor: pictures and features alone": Way(
            lambda: see(
                method.features, pixels, units, recipe.encoder.size, method.crop, desk.where
            ),
            info.frames,
        ),
    }
    if method.embeds == "frame":
        ways["floor: transformer alone"] = Way(
            lambda: relate(method, [rows], info, "", desk.where), info.frames
        )
    return Case(
        "embedding",
        f"{info.frames} frames of 320x240, {what}",
        "frames/s",
        ways,
        inputs=(model, path),
        rounds=rounds,
    )


def untrained(desk: Desk, recipe: Recipe) -> Model:
    """The network of a recipe before its training, as a run on the disk."""
    recipe = replace(recipe, data=replace(recipe.data, steps=0, epochs=0))
    encoder = recipe.encoder
    run = desk.folder / f"run-{recipe.method.name}-{encoder.backbone}-{encoder.size}"
    train(desk.videos(2), run, recipe, device_name=str(desk.where))
    return Model(run, str(desk.where))


class Steps:
    """Steps of a training, one at a time: first waiting for a batch, then computing with it.

    As `marey.training.train` takes them, without its log and checkpoints.
    """

    def __init__(self, recipe: Recipe, videos: Manifest, folder: Path, where: torch.device) -> None:
        self.recipe, self.where = recipe, where
        self.precision = precision(where, recipe.precision)
        torch.manual_seed(0)
        self.method = build(recipe).to(where)
        corpus, rank = survey(videos), Rank()
        self.filled = 0.0  # seconds that it took to fill the cache
        self.batches: Iterator[tuple[Batch | None, list[LeftOut]]]
        started = time.perf_counter()
        if recipe.data.copies:
            cache = FeatureCache(folder, recipe, corpus, self.method.width)
            cache.fill(self.method.eval(), where, rank, show=False)
            self.batches = cache.batches(range(MANY), rank, where, MANY)
        else:
            stores = Stores.of(recipe, folder)
            stores.fill(corpus)
            self.batches = pixel_batches(
                recipe, corpus, stores, range(MANY), rank, where, self.precision, MANY
            )
        self.filled = time.perf_counter() - started
        self.method.train()
        weights = [p for p in self.method.parameters() if p.requires_grad]
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(weights, 1e-4)
        if recipe.optimizer.name == "sgd":
            self.optimizer = torch.optim.SGD(weights, 1e-4, momentum=recipe.optimizer.momentum)

    def wait(self) -> Batch:
        """The next batch. Raises TrainingError where its videos cannot be decoded."""
        batch, left_out = next(self.batches)
        if batch is None:
            raise TrainingError(f"None of the videos of a step can be decoded: {left_out}")
        return batch

    def compute(self, batch: Batch) -> float:
        """Moves the weights; returns the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        low = self.precision != torch.float32
        with torch.autocast(self.where.type, self.precision, enabled=low):
            loss = self.method(batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.method.parameters(), self.recipe.optimizer.clip or 1e9)
        self.optimizer.step()
        self.method.after_step()
        return float(loss.detach())

    def close(self) -> None:
        """Ends the processes that decode ahead."""
        del self.batches

    def row(self, what: str, rounds: int) -> Row:
        """Median time of steps in a row, as in a training, against that of computing alone.

        Not in turns with anything: meanwhile the workers would get ahead. For seconds where steps
        are short: what they have decoded in advance, they had before the first.
        """
        for _ in range(3):
            self.compute(self.wait())
        waits: list[float] = []
        computes: list[float] = []
        begun = time.perf_counter()
        while len(waits) < rounds or time.perf_counter() - begun < rounds:
            start = time.perf_counter()
            batch = self.wait()
            got = time.perf_counter()
            self.compute(batch)
            waits.append(got - start)
            computes.append(time.perf_counter() - got)
        waiting, computing = median(waits), median(computes)
        share = waiting / (waiting + computing)
        return Row(
            "training",
            what,
            "s",
            waiting + computing,
            "floor: computing alone",
            computing,
            note=f"{share:.0%} of the time waits for data (decoding, augmentation)",
        )


def training(desk: Desk) -> Measured:
    """Steps of CARL and of MCL, from files and from stored features."""
    rounds = 3 if desk.quick else 5
    for recipe, what in (carl_step(desk), mcl_step(desk)):
        steps = Steps(recipe, desk.videos(8), desk.folder / "cache", desk.where)
        yield steps.row(what, rounds)
        steps.close()
    yield from cached(desk)


def carl_step(desk: Desk) -> tuple[Recipe, str]:
    """A step of CARL that trains a part of the backbone, as published, and what it is."""
    recipe = carl_penn()
    encoder, config = recipe.encoder, recipe.method
    assert isinstance(encoder, EncoderConfig)
    assert isinstance(config, CarlConfig)
    encoder = replace(encoder, weights="random")
    if desk.quick:
        encoder = replace(encoder, backbone="resnet18", size=64)
        config = replace(config, frames=20)
    recipe = replace(recipe, method=config, encoder=encoder)
    what = f"CARL step, 1 video, 2 x {config.frames} frames of {encoder.size} pixels"
    return recipe, f"{what}, {encoder.backbone}, layer4 trained"


def mcl_step(desk: Desk, *, published: bool = False) -> tuple[Recipe, str]:
    """A step of MCL, by the recipe for small machines or as published, and what it is."""
    recipe = mcl_ucf101() if published else mcl()
    data = replace(recipe.data, videos=2, epochs=0, accumulate=1) if published else recipe.data
    encoder, config = recipe.encoder, recipe.method
    assert isinstance(config, MclConfig)
    if desk.quick:
        config = replace(config, length=8, window=4, queue=960)
        encoder = ClipEncoderConfig(backbone="r2plus1d_small", size=48)
        data = replace(data, videos=2)
    recipe = replace(recipe, method=config, encoder=encoder, data=data)
    what = f"MCL step, {data.videos} videos x 4 clips of {config.length} x {encoder.size} pixels"
    return recipe, f"{what}, {encoder.backbone}"


def cached(desk: Desk) -> Measured:
    """Stored features of a frozen backbone, against running it at every step."""
    recipe = carl()
    frames, size, each = (20, 64, 2) if desk.quick else (80, 112, 8)
    assert isinstance(recipe.method, CarlConfig)
    method = replace(recipe.method, frames=frames)
    data = replace(recipe.data, videos=each)
    encoder = replace(recipe.encoder, size=size)
    recipe = replace(recipe, encoder=encoder, method=method, data=data)
    videos = desk.videos(8)
    stored = Steps(recipe, videos, desk.folder / "features", desk.where)
    without = replace(recipe, data=replace(recipe.data, copies=0))
    seen = Steps(without, videos, desk.folder / "features", desk.where)
    many = sum(probe(entry.path).frames for entry in videos) * recipe.data.copies
    yield Case(
        "training",
        f"CARL step, {each} videos x 2 x {frames} frames, stored features",
        "s",
        {
            OURS: Way(lambda: stored.compute(stored.wait())),
            f"files at every step, frozen efficientnet_lite0 at {size}": Way(
                lambda: seen.compute(seen.wait())
            ),
        },
        rounds=3,
        note=lambda times: (
            f"{recipe.data.copies} copies of 8 videos were stored once, {many / stored.filled:.0f} "
            "frames/s with decoding and augmentation"
        ),
    )
    seen.close()
