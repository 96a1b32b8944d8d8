"""From a corpus of videos to the batches of a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from marey.augment import augment
from marey.config import Recipe
from marey.data import Corpus, LeftOut, Stores, decode_size, look
from marey.distributed import Rank
from marey.errors import TrainingError, VideoError
from marey.methods import find
from marey.sampling import schedule, schedule_together
from marey.types import Batch, VideoInfo, View


@dataclass(frozen=True, slots=True)
class Step:
    """The views of B videos as they leave a data worker.

    videos: their places in the corpus.
    views: V of each.
    pixels: of all views in turn, as they were decoded, (T, H, W, 3) uint8 each; or augmented,
        (B * V, T, 3, size, size).
    left_out: the videos that cannot be read.
    """

    videos: list[int]
    views: list[list[View]]
    pixels: list[Tensor] | Tensor
    left_out: list[LeftOut]

    def augmented(self, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The pixels on a device, (B * V, T, 3, size, size), augmented there if they are not."""
        if isinstance(self.pixels, Tensor):
            return self.pixels
        clips = [clip.to(device, non_blocking=True) for clip in self.pixels]
        return augment(clips, [view.draw for views in self.views for view in views], size, dtype)


class PixelSteps(Dataset[Step]):
    """Item i holds step i: a function of recipe, corpus, rank and i alone.

    What is not in the stores yet is put there.

    dtype: augment too, to this type; None leaves that to whom the step goes to.
    """

    def __init__(
        self,
        recipe: Recipe,
        corpus: Corpus,
        stores: Stores,
        rank: int,
        world: int,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.recipe, self.corpus, self.rank, self.world = recipe, corpus, rank, world
        self.stores, self.method, self.dtype = stores, find(recipe), dtype

    def __getitem__(self, step: int) -> Step:
        clips: list[Tensor] = []
        found = Step([], [], clips, [])
        for video, rng in plan(self.recipe, self.corpus, step, self.rank, self.world):
            entry, info = self.corpus.entries[video], self.corpus.infos[video]
            try:
                motion = self.stores.motion.of(entry.path) if self.stores.motion else None
                views = self.method.views(self.recipe, info, rng, motion)
                clips += self._look(info, views)
                found.videos.append(video)
                found.views.append(views)
            except VideoError as error:
                found.left_out.append((entry.name, str(error)))
        if self.dtype is None or not clips:
            return found
        size, here = self.recipe.encoder.size, torch.device("cpu")
        return replace(found, pixels=found.augmented(size, self.dtype, here))

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

    On the CPU the workers augment too, ahead of the training: it then waits for nothing.

    A video that turns out to be unreadable is left out of its step and named beside it; the batch
    is None where that was all of them. Raises TrainingError where a worker is killed.
    """
    workers = recipe.data.workers
    if workers < 0:
        workers = max(1, torch.get_num_threads() - 1)
    ahead = device.type == "cpu" and workers > 0
    loader = DataLoader(
        PixelSteps(recipe, corpus, stores, rank.rank, rank.world, dtype if ahead else None),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        prefetch_factor=2 if workers else None,
        collate_fn=_as_it_is,
    )
    for number, step in zip(steps, _living(loader), strict=True):
        if not step.videos:
            yield None, step.left_out
            continue
        pixels = step.augmented(recipe.encoder.size, dtype, device)
        inputs, done = pixels.unflatten(0, (len(step.videos), -1)), number / total
        batch = collate(inputs, step.views, corpus, step.videos, device, done, cached=False)
        yield batch, step.left_out


def _living(loader: DataLoader[Step]) -> Iterator[Step]:
    """The steps of a loader. Raises TrainingError where one of its workers is killed."""
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):  # what torch says of one that was killed
            raise
        raise TrainingError(
            f"A process that decodes videos was killed ({error}); where memory is short, or that "
            "which processes share, as in containers, give --data.workers 0."
        ) from error


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
