"""Speed from the file to what a network sees: decoding, motion, augmentation, the backbone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from marey.augment import WHOLE, augment, draw
from marey.bench.speed_cases import OURS, Case, Desk, Measured, Times, Way
from marey.config import AugmentConfig
from marey.flow import SIZE, Engine, flow
from marey.models.backbone import Backbone, build, freeze
from marey.models.trunk import Trunk
from marey.motion import motion_maps, video_motion
from marey.types import U8, Draw, Flow, Frames
from marey.video import probe, read, stream
from marey.video_source import Source

BATCH = 32
"""Pictures that go through a network at once the usual way."""


def decode(desk: Desk) -> Measured:
    """Whole files and a few frames of them, against the decoder alone."""
    frames = 100 if desk.quick else 250
    yield whole(desk, desk.video(360, 640, frames), "H.264 640x360")
    yield few(desk, desk.video(360, 640, frames), "H.264 640x360")
    if not desk.quick:
        yield whole(desk, desk.video(1080, 1920, 50), "H.264 1920x1080")


def whole(desk: Desk, path: Path, what: str) -> Case:
    """All frames of a file as a stream; inputs: its path."""
    info = probe(path)

    def alone() -> None:
        with Source(path) as source:
            for _ in source.frames(source.table(), np.arange(info.frames)):
                pass

    return Case(
        "decode",
        f"{what}, all frames to RGB",
        "frames/s",
        {
            OURS: Way(lambda: [len(chunk) for chunk in stream(path)], info.frames),
            "at a short side of 128": Way(
                lambda: [len(chunk) for chunk in stream(path, size=128)], info.frames
            ),
            "floor: the decoder alone": Way(alone, info.frames),
        },
        inputs=path,
        rounds=desk.rounds,
    )


def few(desk: Desk, path: Path, what: str) -> Case:
    """16 neighbouring frames from the middle of a file, as a clip is taken; inputs: their numbers.

    Where they lie between key frames decides what has to be decoded with them.
    """
    info = probe(path)
    wanted = np.arange(info.frames // 2, info.frames // 2 + 16)
    return Case(
        "decode",
        f"{what}, 16 of {info.frames} frames, short side 128",
        "ms",
        {
            OURS: Way(lambda: read(path, wanted, size=128, info=info)),
            "all frames decoded, 16 kept": Way(lambda: read(path, size=128).pixels[wanted]),
        },
        inputs=(path, wanted),
        rounds=desk.rounds,
    )


def augmentation(desk: Desk) -> Measured:
    """The whole of CARL's augmentation, against resizing and normalising alone.

    inputs: a clip (T, H, W, 3), draws, the size, and how many frames are enough for a slow way.
    """
    frames, size = (24, 112) if desk.quick else (40, 224)
    rng = np.random.default_rng(0)
    clip = _clip(frames, 256, 320)
    tensor = torch.from_numpy(clip).to(desk.where)
    draws = [draw(rng, AugmentConfig(), height=256, width=320) for _ in range(10)]
    work = frames * len(draws)

    def changed(dtype: torch.dtype) -> None:
        augment([tensor] * len(draws), draws, size, dtype)  # all at once, as a training step does

    def resized() -> None:
        augment([tensor] * len(draws), [Draw(box=WHOLE)] * len(draws), size)

    yield Case(
        "augmentation",
        f"320x256 to {size} pixels, 10 draws",
        "frames/s",
        {
            OURS: Way(lambda: changed(torch.float32), work),
            "to bfloat16": Way(lambda: changed(torch.bfloat16), work),
            "floor: resized and normalised": Way(resized, work),
        },
        inputs=(clip, draws, size, max(1, frames // 10)),
        rounds=desk.rounds,
    )


def _clip(frames: int, height: int, width: int) -> U8:
    """Coloured waves that move, and noise: (T, H, W, 3) uint8."""
    t, y, x, c = np.ogrid[:frames, :height, :width, :3]
    waves = np.sin(0.05 * x + 0.2 * t + 2 * c) + np.cos(0.08 * y - 0.1 * t + c)
    noise = np.random.default_rng(0).normal(0, 8, (frames, height, width, 3))
    return np.asarray(np.clip(128 + 60 * waves + noise, 0, 255), np.uint8)


def backbone(desk: Desk) -> Measured:
    """A frozen backbone by the path that Marey takes, against float32 as the network is."""
    yield network(desk, "efficientnet_lite0", 112)
    if not desk.quick:
        yield network(desk, "efficientnet_lite0", 224)


def network(desk: Desk, name: str, size: int, *, rounds: int | None = None) -> Case:
    """A frozen backbone on pictures of a size, in all ways that Marey has for it.

    Compiled, as for long runs, save at a quick desk.
    """
    torch.manual_seed(0)
    net = build(name, "package" if name == "efficientnet_lite0" else "random").to(desk.where)
    freeze(net, "all")
    count = 32 if desk.quick else 64 * 224**2 // size**2  # a turn must outlast taking turns
    pixels = pictures(count, size).to(desk.where)
    ready = pixels.contiguous(memory_format=torch.channels_last)  # as `augment` gives them
    last = len(net.stage_names) - 1
    chosen = Trunk(net, (last,), compiled=not desk.quick)
    ways = {"eager, float32": Trunk(net, (last,), precision="fp32", compiled=False)}
    if not desk.quick:
        ways = {"not compiled": Trunk(net, (last,), compiled=False), **ways}

    def note(times: Mapping[str, Times]) -> str:
        start = time.perf_counter()
        ours = Trunk(net, (last,), compiled=not desk.quick)(ready)[last]
        again = time.perf_counter() - start
        wanted = eager(net, pixels)
        cosine = F.cosine_similarity(ours.mean((2, 3)), wanted.mean((2, 3))).min()
        return (
            f"{chosen.path}; first call {times[OURS].first:.1f} s, in later runs {again:.1f} s; "
            f"least cosine to float32 {cosine.item():.4f}"
        )

    usual = Way(partial(eager, net, pixels), len(pixels), reach=None if desk.quick else 8)
    return Case(
        "backbone",
        f"{name}, {size} pixels",
        "frames/s",
        {
            OURS: Way(partial(chosen, ready), len(pixels)),
            "the usual way: eager, float32": usual,
            **{f"marey, {way}": Way(partial(t, ready), len(pixels)) for way, t in ways.items()},
        },
        inputs=(net, pixels),
        rounds=rounds or desk.rounds,
        note=note,
    )


def eager(net: Backbone, pixels: Tensor) -> Tensor:
    """The last stage's map as it is usually computed: the network as it is, in batches."""
    with torch.no_grad():
        return torch.cat([net.as_map(net(batch)[-1]) for batch in pixels.split(BATCH)])


def pictures(count: int, size: int) -> Tensor:
    """(count, 3, size, size) normalised noise, smooth as pictures are."""
    coarse = torch.randn(count, 3, size // 8, size // 8, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size, mode="bicubic")


def motion(desk: Desk) -> Measured:
    """Optical flow, and the maps that are kept of it, on one thread.

    inputs of the first case: Frames.
    """
    path = desk.video(240, 320, 60 if desk.quick else 100)
    clip = read(path)
    pairs = len(clip) - 1

    def fields(engine: Engine) -> list[Flow]:
        return list(flow([clip], engine))

    def single(run: Way) -> Way:
        def alone() -> None:
            threads = cv2.getNumThreads()
            cv2.setNumThreads(1)
            run.run()
            cv2.setNumThreads(threads)

        return Way(alone, run.work)

    yield Case(
        "motion",
        "flow, 320x240",
        "pairs/s",
        {
            OURS: single(Way(lambda: fields("dis"), pairs)),
            "engine farneback": single(Way(lambda: fields("farneback"), pairs)),
            "floor: difference of frames": single(Way(lambda: fields("difference"), pairs)),
        },
        inputs=clip,
        rounds=desk.rounds,
    )
    small = Frames(read(path, size=SIZE).pixels, clip.index, clip.seconds)
    flows = fields("dis")
    yield Case(
        "motion",
        "file to maps, 320x240",
        "frames/s",
        {
            OURS: single(Way(lambda: video_motion(path), len(clip))),
            "floor: decoding alone": single(
                Way(lambda: [len(chunk) for chunk in stream(path, size=SIZE)], len(clip))
            ),
            "floor: flow alone": single(Way(lambda: list(flow([small])), len(clip))),
            "floor: maps alone": single(Way(lambda: motion_maps(flows), len(clip))),
        },
        rounds=desk.rounds,
    )
