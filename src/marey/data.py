"""The videos of a corpus, and what is computed of them once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from marey.config import Recipe
from marey.errors import ManifestError, VideoError
from marey.frame_store import FrameStore
from marey.manifest import Entry, Manifest
from marey.methods import find
from marey.motion_store import MotionStore
from marey.progress import bar
from marey.types import I64, VideoInfo
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


def look(info: VideoInfo, numbers: Sequence[I64], size: int) -> list[Tensor]:
    """Frames of a video by their numbers: (..., H, W, 3) uint8 for each array of numbers (...).

    What several of them hold is decoded once.

    size: short side, in pixels, to decode at.  Raises VideoError where that fails.
    """
    wanted, place = np.unique(np.concatenate([n.ravel() for n in numbers]), return_inverse=True)
    pixels = torch.from_numpy(read(info.path, wanted, size=size, info=info).pixels)
    at = np.split(place, np.cumsum([n.size for n in numbers])[:-1])
    return [pixels[torch.from_numpy(i.reshape(n.shape))] for i, n in zip(at, numbers, strict=True)]
