"""From a corpus of videos to the batches of a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from marey.augment import augment
from marey.config import Recipe
from marey.distributed import Rank
from marey.errors import ManifestError, VideoError
from marey.frame_store import FrameStore
from marey.manifest import Entry, Manifest
from marey.methods import find
from marey.motion_store import MotionStore
from marey.progress import bar
from marey.sampling import schedule, schedule_together
from marey.types import I64, Batch, VideoInfo, View
from marey.video import probe, read

LeftOut = tuple[str, str]
"""A video's name and the sentence that says why it is not used."""


@dataclass(frozen=True)
class Corpus:
    """The videos of a manifest that can be read, and those that cannot, with the reason."""

    entries: tuple[Entry, ...]
    infos: tuple[VideoInfo, ...]
    left_out: tuple[LeftOut, ...]

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def actions(self) -> list[str]:
        """The actions that the videos are known to show, in alphabetical order."""
        return sorted({entry.action for entry in self.entries} - {""})

    @cached_property  # every step asks for it
    def groups(self) -> I64:
        """(videos,) position of each video's action among `actions`, -1 where it is not known."""
        place = {action: i for i, action in enumerate(self.actions)}
        return np.array([place.get(entry.action, -1) for entry in self.entries], np.int64)

    @property
    def comparison(self) -> str:
        """Within which actions videos are compared by methods that do, as one line to show."""
        if not self.actions:
            return "No action is known: all videos are compared with one another."
        names = ", ".join(self.actions[:5]) + (", ..." if len(self.actions) > 5 else "")
        unknown = int((self.groups < 0).sum())
        more = f", and {unknown} videos of unknown action with one another" if unknown else ""
        return f"Videos are compared within {len(self.actions)} actions ({names}){more}."

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.entries]

    @property
    def frames(self) -> int:
        """Frames of all videos together."""
        return sum(info.frames for info in self.infos)


def survey(manifest: Manifest, show: bool = False, shortest: int = 1) -> Corpus:
    """Looks at every video of a manifest without decoding it.

    shortest: videos of fewer frames are left out.
    Raises ManifestError where not one of them can be read.
    """
    entries, infos, left_out = [], [], []
    with bar("Looking at the videos", len(manifest), show) as advance:
        for entry in manifest:
            try:
                info = probe(entry.path)
                if info.frames >= shortest:
                    infos.append(info)
                    entries.append(entry)
                else:
                    reason = f"it has {info.frames} frames, and {shortest} are needed."
                    left_out.append((entry.name, reason))
            except VideoError as error:
                left_out.append((entry.name, str(error)))
            advance()
    if not entries:
        reason = left_out[0][1] if left_out else "the list is empty."
        raise ManifestError(f"None of the {len(manifest)} videos can be used; the first: {reason}")
    return Corpus(tuple(entries), tuple(infos), tuple(left_out))


def decode_size(size: int) -> int:
    """Short side, in pixels, to decode at for views of `size`: the room that crops need."""
    return round(size * 8 / 7)


@dataclass(frozen=True, slots=True)
class Stores:
    """What is computed of the videos once and read at every step; None where it is not wanted."""

    motion: MotionStore | None = None
    frames: FrameStore | None = None

    @classmethod
    def of(cls, recipe: Recipe, folder: Path) -> Stores:
        """What a recipe wants, kept below `folder`."""
        motion, frames = find(recipe).motion(recipe), None
        if recipe.data.keep_frames:
            frames = FrameStore(folder / "frames", decode_size(recipe.encoder.size))
        return cls(MotionStore(folder / "motion", motion) if motion else None, frames)

    def fill(self, corpus: Corpus, show: bool = False) -> list[LeftOut]:
        """Computes what is not there yet, on all cores; a stopped call goes on where it was.

        Returns the videos that cannot be used. Raises StorageError.
        """
        left_out: list[LeftOut] = []
        with (
            ThreadPoolExecutor(torch.get_num_threads()) as pool,
            bar("Looking at motion and frames", len(corpus), show) as advance,
        ):
            work = [pool.submit(self._fill, info) for info in corpus.infos]
            try:
                for entry, done in zip(corpus.entries, work, strict=True):
                    try:
                        done.result()
                    except VideoError as error:
                        left_out.append((entry.name, str(error)))
                    advance(note=entry.name)
            finally:
                for done in work:
                    done.cancel()
        return left_out

    def _fill(self, info: VideoInfo) -> None:
        if self.motion:
            self.motion.of(info.path)
        if self.frames:
            self.frames.of(info)


@dataclass(frozen=True, slots=True)
class Sample:
    """The views of one video as they leave a data worker: pixels still uint8, nothing changed.

    video: its place in the corpus.
    clips: V tensors (T, H, W, 3) uint8.
    """

    video: int
    views: list[View]
    clips: list[Tensor]


Step = tuple[list[Sample], list[LeftOut]]


class PixelSteps(Dataset[Step]):
    """Item i holds the samples of step i: a function of recipe, corpus, rank and i alone.

    What is not in the stores yet is put there.
    """

    def __init__(
        self, recipe: Recipe, corpus: Corpus, stores: Stores, rank: int, world: int
    ) -> None:
        self.recipe, self.corpus, self.rank, self.world = recipe, corpus, rank, world
        self.stores, self.method = stores, find(recipe)

    def __getitem__(self, step: int) -> Step:
        samples: list[Sample] = []
        left_out: list[LeftOut] = []
        for video, rng in plan(self.recipe, self.corpus, step, self.rank, self.world):
            entry, info = self.corpus.entries[video], self.corpus.infos[video]
            try:
                motion = self.stores.motion.of(entry.path) if self.stores.motion else None
                views = self.method.views(self.recipe, info, rng, motion)
                clips = self._look(info, views)
                samples.append(Sample(video, views, clips))
            except VideoError as error:
                left_out.append((entry.name, str(error)))
        return samples, left_out

    def _look(self, info: VideoInfo, views: list[View]) -> list[Tensor]:
        """The frames of all views, (T, H, W, 3) each."""
        numbers = [view.index for view in views]
        if self.stores.frames:
            kept = self.stores.frames.of(info)
            return [torch.from_numpy(kept[index]) for index in numbers]
        return look(info, numbers, decode_size(self.recipe.encoder.size))


def plan(
    recipe: Recipe, corpus: Corpus, step: int, rank: int, world: int
) -> Iterator[tuple[int, np.random.Generator]]:
    """The videos of a step on one of `world` processes, each with its random numbers."""
    data = recipe.data
    per_step = data.videos * world
    if data.together == 1:
        chosen = schedule(len(corpus), per_step, step, recipe.seed)
    else:
        chosen = schedule_together(corpus.groups, per_step, step, recipe.seed, data.together)
    for slot in range(rank * data.videos, (rank + 1) * data.videos):
        video = int(chosen[slot])
        yield video, np.random.default_rng([recipe.seed, step, slot])


def look(info: VideoInfo, numbers: Sequence[I64], size: int) -> list[Tensor]:
    """Frames of a video by their numbers: (..., H, W, 3) uint8 for each array of numbers (...).

    What several of them hold is decoded once.

    size: short side, in pixels, to decode at.  Raises VideoError where that fails.
    """
    wanted, place = np.unique(np.concatenate([n.ravel() for n in numbers]), return_inverse=True)
    pixels = torch.from_numpy(read(info.path, wanted, size=size, info=info).pixels)
    at = np.split(place, np.cumsum([n.size for n in numbers])[:-1])
    return [pixels[torch.from_numpy(i.reshape(n.shape))] for i, n in zip(at, numbers, strict=True)]


def _as_it_is(step: Any) -> Any:
    return step


def pixel_batches(
    recipe: Recipe,
    corpus: Corpus,
    stores: Stores,
    steps: range,
    rank: Rank,
    device: torch.device,
    dtype: torch.dtype,
    total: int,
) -> Iterator[tuple[Batch | None, list[LeftOut]]]:
    """Batches of augmented pixels, decoded in worker processes, augmented on the device.

    A video that turns out to be unreadable is left out of its step and named beside it; the batch
    is None where that was all of them.
    """
    workers = recipe.data.workers
    if workers < 0:
        workers = max(1, torch.get_num_threads() - 1)
    loader = DataLoader(
        PixelSteps(recipe, corpus, stores, rank.rank, rank.world),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        prefetch_factor=2 if workers else None,
        collate_fn=_as_it_is,
    )
    for step, (samples, left_out) in zip(steps, loader, strict=True):
        if not samples:
            yield None, left_out
            continue
        clips = [clip.to(device, non_blocking=True) for s in samples for clip in s.clips]
        draws = [view.draw for s in samples for view in s.views]
        pixels = augment(clips, draws, recipe.encoder.size, dtype)
        inputs = pixels.unflatten(0, (len(samples), -1))
        views = [s.views for s in samples]
        videos = [s.video for s in samples]
        yield collate(inputs, views, corpus, videos, device, step / total, cached=False), left_out


def collate(
    inputs: Tensor,
    views: Sequence[Sequence[View]],
    corpus: Corpus,
    videos: Sequence[int],
    device: torch.device,
    progress: float,
    *,
    cached: bool,
) -> Batch:
    """Stacks what the views of B videos carry beside their inputs.

    videos: their places in the corpus.
    """
    chosen = list(videos)

    def stack(name: str) -> Tensor:
        rows = [[getattr(view, name) for view in one] for one in views]
        return torch.from_numpy(np.array(rows)).to(device)

    keys = views[0][0].extra
    extra = {key: np.array([[view.extra[key] for view in one] for one in views]) for key in keys}
    return Batch(
        inputs=inputs,
        cached=cached,
        index=stack("index"),
        valid=stack("valid"),
        lengths=torch.tensor([corpus.infos[v].frames for v in chosen], device=device),
        group=torch.from_numpy(corpus.groups[chosen]).to(device),
        videos=[corpus.entries[v].name for v in chosen],
        progress=progress,
        extra={key: torch.from_numpy(value).to(device) for key, value in extra.items()},
    )
