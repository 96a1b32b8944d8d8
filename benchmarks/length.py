"""Embedding over the length of the video: speed, and peak memory.

python benchmarks/length.py --hour
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av

import harness
from baselines.embed_all import embed_all
from marey.bench.speed_cases import Desk, Measured, Row
from marey.bench.speed_memory import peak
from marey.bench.speed_training import untrained
from marey.embedding import Model
from marey.methods.base import FrameMethod
from marey.recipes import rotary

SECONDS = 10
SIZE = 64


def cases(desk: Desk, *, hour: bool = False) -> Measured:
    recipe = rotary()
    recipe = replace(recipe, encoder=replace(recipe.encoder, size=SIZE))
    run = untrained(desk, recipe).run
    piece = desk.video(240, 320, 25 * SECONDS)
    lengths = (10, 60) if desk.quick else (10, 60, 600, *([3600] if hour else []))
    shortest = None
    for length in lengths:
        path = repeated(piece, length // SECONDS)
        ours = peak("length:prepare", run=str(run), path=str(path), usual=False)
        frames, what = 25 * length, f"{length} s of 320x240 at 25 frames/s"
        if length <= 60:
            usual = peak("length:prepare", run=str(run), path=str(path), usual=True)
            name = "the usual way: all decoded"
            yield Row("length", f"added at the peak, {what}", "MB", ours.added, name, usual.added)
            rates = frames / ours.seconds, frames / usual.seconds
            yield Row("length", f"speed, {what}", "frames/s", rates[0], name, rates[1])
        if shortest is None:
            shortest = ours
            continue
        name = f"{SECONDS} s"
        yield Row("length", f"whole process, {what}", "MB", ours.whole, name, shortest.whole)
        rates = frames / ours.seconds, 25 * SECONDS / shortest.seconds
        yield Row("length", f"speed, {what}", "frames/s", rates[0], name, rates[1])


def repeated(path: Path, times: int) -> Path:
    """The same video so many times over, copied packet by packet."""
    out = path.with_name(f"{path.stem}-{times}.mp4")
    with av.open(str(out), "w") as target:
        track = None
        shift = 0
        for _ in range(times):
            with av.open(str(path)) as source:
                video = source.streams.video[0]
                track = track or target.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.dts is None:
                        continue  # the one that ends the stream
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = track
                    target.mux(packet)
                shift += round(video.frames / 25 / video.time_base)
    return out


def prepare(run: str, path: str, usual: bool) -> Callable[[], object]:
    """For `peak`, which is not to measure the network and what loads at its first use."""
    model = Model(run)
    assert isinstance(model.method, FrameMethod)

    def embed(file: Path) -> object:
        return embed_all(model.method, file, SIZE) if usual else model.embed(file)

    embed(Path(path).with_name("320x240-250-1.mp4"))
    return lambda: embed(Path(path))


if __name__ == "__main__":
    harness.main(__doc__, {"length": cases})
