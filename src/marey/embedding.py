"""Embeddings of whole videos by a trained run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from marey import checkpoint, device, store
from marey.augment import Crop, plain
from marey.data import LeftOut, decode_size, survey
from marey.errors import VideoError
from marey.files import identity
from marey.manifest import Manifest
from marey.methods.base import Method
from marey.progress import ahead, bar
from marey.types import F32, I64, U8, Embeddings, VideoInfo
from marey.video import probe, stream

CHUNK = 64  # frames decoded at a time
UNITS = 64  # rows that leave the decoder, and frames that pass the backbone, at a time


class Model:
    """A trained method on its device, ready to embed.

    Args:
        run: a run folder. Raises CheckpointError for any other folder.
        device_name: "auto", "cpu", "cuda" or "mps".
    """

    def __init__(self, run: str | Path, device_name: str = "auto") -> None:
        self.run = Path(run)
        self.device = device.pick(device_name)
        self.method = checkpoint.load_method(self.run, self.device)

    def embed(
        self, path: str | Path, name: str | None = None, info: VideoInfo | None = None
    ) -> Embeddings:
        """The embedding of one video, every row of it seen in one pass of the transformer.

        name: under which it is stored, by default the path.  info: what `probe` found, if known.
        Raises VideoError where it cannot be decoded to its end.
        """
        info = info or probe(path)
        features = extract(self.method, info, self.device)
        return encode(self.method, features, info, name or str(path), self.device)


def embed(
    run: str | Path | Model, videos: str | Path | Sequence[str | Path], *, show: bool = False
) -> list[Embeddings]:
    """The embeddings of some videos, in memory. `embed_to` writes those of many to a file.

    Args: run, a run folder or a loaded `Model`; videos, files, folders or tables.
    Raises CheckpointError, ManifestError, or VideoError for the first video that cannot be read.
    """
    model = run if isinstance(run, Model) else Model(run)
    manifest = Manifest.of(videos)
    with bar("Embedding", len(manifest), show) as advance:
        found = []
        for entry in manifest:
            found.append(model.embed(entry.path, entry.name))
            advance(note=entry.name)
    return found


@dataclass(frozen=True)
class Embedded:
    """What `embed_to` wrote: the file, its videos and rows, and the videos left out."""

    path: Path
    videos: int
    rows: int
    left_out: tuple[LeftOut, ...]


def embed_to(
    out: str | Path,
    run: str | Path | Model,
    videos: str | Path | Sequence[str | Path] | Manifest,
    *,
    show: bool = False,
) -> Embedded:
    """Embeds many videos into one Parquet table (`marey.store`).

    A video that cannot be read is left out and named in the result. What is embedded is kept
    beside `out` at once: a stopped run of the same command goes on where it was.
    Raises CheckpointError, StorageError; ManifestError or VideoError where no video can be read.
    """
    out, model = Path(out), run if isinstance(run, Model) else Model(run)
    manifest = videos if isinstance(videos, Manifest) else Manifest.of(videos)
    about = {"method": model.method.recipe.method.name, "run": model.run.name}
    corpus = survey(manifest, show)
    model.method.expect(corpus.frames)
    weights = checkpoint.weights_file(model.run)
    parts = out.with_name(f".{out.name}.{identity(weights)}.parts")
    left_out = list(corpus.left_out)
    kept: list[Path] = []
    with bar("Embedding", len(corpus), show) as advance:
        for entry, info in zip(corpus.entries, corpus.infos, strict=True):
            try:
                part = parts / f"{identity(entry.path, entry.name)}.parquet"
                if not part.exists():
                    store.write(part, [model.embed(entry.path, entry.name, info)], about)
                kept.append(part)
            except VideoError as error:
                left_out.append((entry.name, str(error)))
            advance(note=entry.name)
    if not kept:
        raise VideoError(f"None of the {len(manifest)} videos can be read; {left_out[0][1]}")
    rows = store.write(out, (one for part in kept for one in store.stream(part)), about)
    shutil.rmtree(parts)
    return Embedded(out, len(kept), rows, tuple(left_out))


def extract(
    method: Method, info: VideoInfo, where: torch.device, units: I64 | None = None
) -> Tensor:
    """(N, F) float32 features of a whole video, decoded once, in constant memory of pixels.

    units: (N, L) frame numbers, each row's last after that of the row before; by default those of
        the method's embedding.

    Raises VideoError where the video cannot be decoded to its end.
    """
    recipe = method.recipe
    if units is None:
        units = type(method).units(recipe, info.frames)
    rows = []
    for clip in ahead(_clips(info, units, decode_size(recipe.encoder.size)), depth=2):
        pixels = torch.from_numpy(clip)
        rows.append(see(method.features, pixels, recipe.encoder.size, method.crop, where))
    return torch.cat(rows)


def see(
    network: Callable[[Tensor], Tensor],
    units: Tensor,
    size: int,
    crop: Crop,
    where: torch.device,
) -> Tensor:
    """(N, F) float32: what a network says to N units of a video, at most UNITS frames at a time.

    network: from (n, L, 3, size, size) normalised pixels to (n, F).
    units: (N, L, H, W, 3) uint8.  size, crop: as of `marey.augment.plain`.
    """
    rows = []
    for part in units.split(max(1, UNITS // units.shape[1])):
        pixels = plain(part.to(where).flatten(0, 1), size, crop=crop)
        with torch.inference_mode():
            rows.append(network(pixels.unflatten(0, part.shape[:2])).float().cpu())
    return torch.cat(rows)


def encode(
    method: Method, features: Tensor, info: VideoInfo, name: str, where: torch.device
) -> Embeddings:
    """Embeddings of a video from its features, in one pass of what comes after the backbone."""
    units = type(method).units(method.recipe, info.frames)
    return Embeddings(
        video=name,
        vectors=vectors(method, features, units[:, 0], where),
        first=units[:, 0],
        span=int(units[0, -1] - units[0, 0]) + 1,
        start_seconds=info.seconds[units[:, 0]],
        end_seconds=info.seconds[units[:, -1]] + 1 / info.fps,
    )


def vectors(method: Method, features: Tensor, first: I64, where: torch.device) -> F32:
    """(N, D) unit vectors of the (N, F) features of rows that start at frames `first`."""
    with torch.inference_mode():
        times = torch.from_numpy(first).to(where)[None]
        return method.encode(features.to(where)[None], times)[0].float().cpu().numpy()


def _clips(info: VideoInfo, units: I64, size: int) -> Iterator[U8]:
    """(n, L, H, W, 3) pixels of the units in order, n <= UNITS, from one pass over the video.

    Only the frames that a coming unit still needs are kept.
    """
    done, held = 0, 0
    buffer: list[U8] = []
    last = units.max(1)
    for frames in stream(info.path, size=size, chunk=CHUNK, info=info):
        buffer.append(frames.pixels)
        have = int(frames.index[-1]) + 1
        ready = int(np.searchsorted(last, have))
        while done < ready:
            stop = min(done + UNITS, ready)
            pixels = buffer[0] if len(buffer) == 1 else np.concatenate(buffer)
            wanted = units[done:stop] - held
            yield _take(pixels, wanted)
            done = stop
            low = int(units[done].min()) if done < len(units) else have
            buffer, held = [pixels[low - held :]], low


def _take(pixels: U8, wanted: I64) -> U8:
    """pixels[wanted], a view where the wanted rows are neighbours."""
    if wanted.shape[1] == 1 and wanted[-1, 0] - wanted[0, 0] == len(wanted) - 1:
        return pixels[wanted[0, 0] : wanted[-1, 0] + 1, None]
    return pixels[wanted]
