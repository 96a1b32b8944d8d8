"""Embeddings of whole videos by a trained run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from marey import checkpoint, device, store
from marey.augment import Crop, plain
from marey.data import LeftOut, decode_size, survey
from marey.errors import ConfigError, VideoError
from marey.files import identity
from marey.manifest import Manifest
from marey.methods.base import Method
from marey.models.weights import digest
from marey.progress import ahead, bar
from marey.types import F32, I64, Embeddings, VideoInfo
from marey.units import gather, in_units, windows
from marey.video import probe

CHUNK = 64  # frames that leave the decoder, and units made of them, at a time
UNITS = 128  # frames in the units that pass the network at a time
ROWS = 1024  # rows of features in memory that are condensed at a time


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

    @cached_property
    def weights(self) -> str:
        """A digest of the weights that embed: the same for a run and what was exported of it."""
        return digest(checkpoint.needed(self.method))

    def require_maker_of(self, table: str | Path) -> None:
        """Raises ConfigError where other weights made this table of embeddings, else nothing."""
        about = store.about(Path(table))
        if about.get("weights", self.weights) != self.weights:
            raise ConfigError(
                f"{table} was made by other weights (run {about['run']!r}) than those of "
                f"{self.run}, and two networks' rows cannot be compared; give the run that made "
                "it, or embed again."
            )

    def embed(
        self, path: str | Path, name: str | None = None, info: VideoInfo | None = None
    ) -> Embeddings:
        """The embedding of one video.

        A row sees all rows of the video, or of a window of it where the method's views hold no
        more (`Method.context`); memory then does not grow with the length, but by the result.

        name: under which it is stored, by default the path.  info: what `probe` found, if known.
        Raises VideoError where it cannot be decoded to its end.
        """
        info = info or probe(path)
        units = type(self.method).units(self.method.recipe, info.frames)
        parts = stream_rows(self.method, info, self.device, units, condensed=True)
        return relate(self.method, parts, info, name or str(path), self.device)


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
    about = {
        "method": model.method.recipe.method.name,
        "run": model.run.name,
        "weights": model.weights,
    }
    corpus = survey(manifest, show)
    units, recipe = type(model.method).units, model.method.recipe
    model.method.expect(sum(len(units(recipe, info.frames)) for info in corpus.infos))
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
    method: Method,
    info: VideoInfo,
    where: torch.device,
    units: I64 | None = None,
    *,
    condensed: bool = False,
) -> Tensor:
    """(N, F) float32 features of a whole video, decoded once, in constant memory of pixels.

    units: as of `marey.units.in_units`; by default those of the method's embedding.
    condensed: keep only what `Method.relate` needs of them.

    Raises VideoError where the video cannot be decoded to its end.
    """
    if units is None:
        units = type(method).units(method.recipe, info.frames)
    return _joined(stream_rows(method, info, where, units, condensed=condensed), len(units))


def stream_rows(
    method: Method, info: VideoInfo, where: torch.device, units: I64, *, condensed: bool = False
) -> Iterator[Tensor]:
    """The rows of `extract`, as the video is decoded: (n, F) each, at most CHUNK at a time."""
    size = method.recipe.encoder.size
    for pixels, index in ahead(in_units(info, units, decode_size(size), CHUNK), depth=2):
        part = see(method.features, torch.from_numpy(pixels), index, size, method.crop, where)
        yield _condense(method, part, where) if condensed else part


def _condense(method: Method, features: Tensor, where: torch.device) -> Tensor:
    with torch.inference_mode():
        return method.condense(features.to(where)).float().cpu()


def see(
    network: Callable[[Tensor], Tensor],
    frames: Tensor,
    units: I64,
    size: int,
    crop: Crop,
    where: torch.device,
) -> Tensor:
    """(N, F) float32: what a network says to N units of a video, at most UNITS frames at a time.

    network: from (n, L, 3, size, size) normalised pixels to (n, F).
    frames: (M, H, W, 3) uint8.   units: (N, L) places of each unit's frames among them.
    size, crop: as of `marey.augment.plain`.
    """
    rows, step = [], max(1, UNITS // units.shape[1])
    for start in range(0, len(units), step):
        part = units[start : start + step]
        low, stop = int(part.min()), int(part.max()) + 1
        pixels = plain(frames[low:stop].to(where), size, crop=crop)
        with torch.inference_mode():
            rows.append(network(gather(pixels, part - low)).float().cpu())
    return torch.cat(rows)


def relate(
    method: Method, parts: Iterable[Tensor], info: VideoInfo, name: str, where: torch.device
) -> Embeddings:
    """Embeddings of a video from its condensed features, part after part (n, C)."""
    first, span = type(method).spans(method.recipe, info.frames)
    return Embeddings(
        video=name,
        vectors=_related(method, parts, first, where),
        first=first,
        span=span,
        start_seconds=info.seconds[first],
        end_seconds=info.seconds[first + span - 1] + 1 / info.fps,
    )


def vectors(method: Method, features: Tensor, first: I64, where: torch.device) -> F32:
    """(N, D) unit vectors of the (N, F) features of rows that start at frames `first`."""
    parts = (_condense(method, part, where) for part in features.split(ROWS))
    return _related(method, parts, first, where)


def _related(method: Method, parts: Iterable[Tensor], first: I64, where: torch.device) -> F32:
    """(N, D) unit vectors of rows that come part after part, in windows of `Method.context`.

    A row's vector is the mean over the windows that it lies in, more of those that have it in the
    middle. Rows are held until their windows are complete.
    """
    rows = len(first)
    length = min(rows, type(method).context(method.recipe) or rows)
    starts = windows(rows, length)
    if len(starts) == 1:
        parts = [_joined(parts, rows)]
    middle = np.minimum(np.arange(1, length + 1), np.arange(length, 0, -1)).astype(np.float32)
    out: F32 = np.empty((0, 0), np.float32)
    held, low, done = torch.empty(0), 0, 0  # low: the place of the first row held
    for part in parts:
        held = torch.cat([held, part]) if len(held) else part
        ready = int(np.searchsorted(starts + length, low + len(held), side="right"))
        if ready == done:
            continue
        places = starts[done:ready, None] + np.arange(length)
        with torch.inference_mode():
            times = torch.from_numpy(first[places]).to(where)
            seen = method.relate(held[places - low].to(where), times).float().cpu().numpy()
        if not done:
            out = np.zeros((rows, seen.shape[-1]), np.float32)
        for start, window in zip(starts[done:ready], seen, strict=True):
            out[start : start + length] += middle[:, None] * window
        done = ready
        keep = int(starts[done]) if done < len(starts) else rows
        held, low = held[keep - low :], keep
    for some in np.split(out, range(ROWS, rows, ROWS)):
        some /= np.linalg.norm(some, axis=1, keepdims=True)
    return out


def _joined(parts: Iterable[Tensor], rows: int) -> Tensor:
    """Parts with so many rows in all, as one tensor."""
    out, done = torch.empty(0), 0
    for part in parts:
        if not done:  # at once, as a list of parts and all of it would be held together
            out = part.new_empty(rows, *part.shape[1:])
        out[done : done + len(part)] = part
        done += len(part)
    return out
