"""Features of a frozen backbone, extracted once: what makes a laptop enough.

K augmented copies of every video pass the backbone a single time; then the trained part runs at
memory speed, as often as it likes, on views whose frames come from different copies. On disk it
is one float16 table (K, frames of all videos, F), read through the page cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from marey.augment import augment, draw
from marey.batches import collate, plan
from marey.config import Recipe, to_dict
from marey.data import Corpus, LeftOut, decode_size
from marey.distributed import Rank, barrier
from marey.errors import StorageError, VideoError
from marey.files import storing, write_json
from marey.methods import find
from marey.methods.base import Method
from marey.progress import ahead, bar
from marey.types import I64, U8, Batch, View
from marey.units import gather, in_units

F16 = NDArray[np.float16]
Part = tuple[int, U8, I64]
"""The first of some rows of a video, the frames that they look at, and which ones each does."""
CHUNK = 32  # frames decoded, augmented and embedded at a time, times K copies


class FeatureCache:
    """The stored features of a corpus under a recipe; `fill` extracts what is not there yet.

    Raises StorageError where the disk has no room for it.
    """

    def __init__(self, folder: Path, recipe: Recipe, corpus: Corpus, width: int) -> None:
        self.recipe, self.corpus, self.width = recipe, corpus, width
        self.starts = np.cumsum([0, *(info.frames for info in corpus.infos)])
        self.folder = folder / self._fingerprint()
        self.shape = (recipe.data.copies, int(self.starts[-1]), width)
        self._allocate()
        self.table = np.memmap(self.folder / "features.f16", np.float16, "r+", shape=self.shape)
        self.done = np.memmap(self.folder / "done.u8", np.uint8, "r+", shape=(len(corpus),))

    def _fingerprint(self) -> str:
        """Names the folder by all that the features depend on; by the seed only where it makes the
        backbone, so that trainings of several seeds share them."""
        recipe = to_dict(self.recipe)
        files = [(str(e.path.resolve()), e.path.stat().st_mtime_ns) for e in self.corpus.entries]
        encoder = {k: recipe["encoder"].get(k) for k in ("backbone", "weights", "size", "pool")}
        if motion := recipe["encoder"].get("motion"):
            encoder["motion"] = motion
        parts = [encoder, recipe["augment"], recipe["data"]["copies"], files]
        if recipe["precision"] != "auto":
            parts.append(recipe["precision"])
        if encoder["weights"] == "random":
            parts.append(self.recipe.seed)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def _allocate(self) -> None:
        """Takes the room on the disk at once: a full disk is told before the work, not after."""
        size = int(np.prod(self.shape, dtype=np.int64)) * 2
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        for name, length in (("features.f16", size), ("done.u8", len(self.corpus))):
            path = self.folder / name
            have = path.stat().st_size if path.exists() else 0
            if have == length:
                continue
            if length - have > free:
                raise StorageError(
                    f"The feature cache {self.folder} needs {length / 1e6:,.0f} MB, but the disk "
                    f"has {free / 1e6:,.0f} MB left; free some space, give --out on another disk, "
                    "or fewer --data.copies."
                )
            with storing(path), path.open("ab") as file:
                file.truncate(length)
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, length)

    def fill(self, method: Method, device: torch.device, rank: Rank, show: bool) -> None:
        """Extracts what is missing; a stopped extraction goes on where it was.

        A video that cannot be decoded to its end is marked and left out.
        """
        mine = [v for v in range(rank.rank, len(self.corpus), rank.world) if self.done[v] == 0]
        frames = sum(self.corpus.infos[v].frames for v in mine)
        method.expect(frames * self.recipe.data.copies)
        with bar("Extracting features", frames, show and rank.first) as advance:
            for video, result in ahead(self._decode(mine)):
                if isinstance(result, VideoError):
                    self._leave_out(video, result)
                elif result is None:
                    self.done[video] = 1
                else:
                    self._extract(video, result, method, device)
                    advance(len(result[2]))
        self.table.flush()
        self.done.flush()
        barrier()

    def _decode(self, videos: list[int]) -> Iterator[tuple[int, Part | VideoError | None]]:
        """Parts of each video in turn, then None; or the error that ended it."""
        size, method = decode_size(self.recipe.encoder.size), find(self.recipe)
        for video in videos:
            info = self.corpus.infos[video]
            units = method.units(self.recipe, info.frames)
            first = 0
            try:
                for pixels, places in in_units(info, units, size, CHUNK):
                    yield video, (first, pixels, places)
                    first += len(places)
                yield video, None
            except VideoError as error:
                yield video, error

    def _extract(self, video: int, part: Part, method: Method, device: torch.device) -> None:
        recipe, info = self.recipe, self.corpus.infos[video]
        first, frames, places = part
        copies = recipe.data.copies
        draws = [
            draw(
                np.random.default_rng([video, copy]),
                recipe.augment,
                height=info.height,
                width=info.width,
            )
            for copy in range(copies)
        ]
        clip = torch.from_numpy(frames).to(device)
        pixels = augment([clip] * copies, draws, recipe.encoder.size)
        with torch.inference_mode():
            each = places + len(frames) * np.arange(copies)[:, None, None]
            units = gather(pixels.flatten(0, 1), each.reshape(-1, places.shape[1]))
            features = method.features(units)
        at = self.starts[video] + first
        rows = features.view(copies, len(places), -1).to(torch.float16).cpu().numpy()
        self.table[:, at : at + len(places)] = rows

    def _leave_out(self, video: int, error: VideoError) -> None:
        write_json(self.folder / f"left_out-{video}.json", [self.corpus.names[video], str(error)])
        self.done[video] = 2

    def left_out(self) -> list[LeftOut]:
        """Videos that could not be decoded to their end."""
        files = sorted(self.folder.glob("left_out-*.json"))
        return [_read_pair(path) for path in files]

    def batches(
        self, steps: range, rank: Rank, device: torch.device, total: int
    ) -> Iterator[tuple[Batch | None, list[LeftOut]]]:
        """What `pixel_batches` yields, from the stored features: each view from its own copy."""
        method = find(self.recipe)
        for step in steps:
            chosen = [
                (video, method.views(self.recipe, self.corpus.infos[video], rng))
                for video, rng in plan(self.recipe, self.corpus, step, rank.rank, rank.world)
                if self.done[video] == 1
            ]
            if not chosen:
                yield None, []
                continue
            rng = np.random.default_rng([self.recipe.seed, step, rank.rank])
            rows = np.array([self._look(video, views, rng) for video, views in chosen])
            batch = collate(
                torch.from_numpy(rows).to(device, torch.float32),
                [views for _, views in chosen],
                self.corpus,
                [video for video, _ in chosen],
                device,
                step / total,
                cached=True,
            )
            yield batch, []

    def _look(self, video: int, views: list[View], rng: np.random.Generator) -> list[F16]:
        """The (T, F) features of each view, of different copies as long as there are enough."""
        copies = rng.permutation(self.shape[0])
        return [
            self.table[copies[v % len(copies)], self.starts[video] + view.index]
            for v, view in enumerate(views)
        ]


def _read_pair(path: Path) -> LeftOut:
    name, reason = json.loads(path.read_text(encoding="utf-8"))
    return name, reason
