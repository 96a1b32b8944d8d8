"""Two videos laid over one another: which moment of one is which moment of the other."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

from marey import alignment, pictures
from marey.embedding import Model
from marey.errors import ConfigError
from marey.files import replacing, write_json
from marey.progress import bar
from marey.types import F64, I64, U8, Alignment, Embeddings, VideoInfo
from marey.video import VideoWriter, probe, read

Matcher = Literal["dtw", "subsequence", "nearest"]

BELONG = 0.25
"""Alignability below which two videos are said not to show the same thing."""

DISPLAY = 512  # rows and columns of a similarity picture
CHUNK = 32  # frames decoded at a time for the video
LARGEST = 480  # short side of a panel of the video


@dataclass(frozen=True)
class Pair:
    """An alignment of two videos with all that is needed to look at it.

    a, b: embeddings of query and reference.  path: the alignment of their rows.
    alignability: 0..1, low where the two do not belong together.
    """

    a: Embeddings
    b: Embeddings
    infos: tuple[VideoInfo, VideoInfo]
    path: Alignment
    alignability: float

    @property
    def belongs(self) -> bool:
        """Whether the two videos seem to show the same action at all."""
        return self.alignability >= BELONG

    @property
    def names(self) -> tuple[str, str]:
        """Query and reference as short as people know them: the file and its folder."""
        first, second = ("/".join(Path(one.video).parts[-2:]) for one in (self.a, self.b))
        return first, second

    def seconds(self) -> F64:
        """(2, K) times of the matched rows in query and reference."""
        rows = self.path.path
        return np.stack([self.a.start_seconds[rows[0]], self.b.start_seconds[rows[1]]])

    def frames(self) -> I64:
        """(2, K) frame numbers of the matched rows in query and reference."""
        rows = self.path.path
        return np.stack([self.a.first[rows[0]], self.b.first[rows[1]]])

    def matches(self) -> I64:
        """(N,) one row of the reference for every row of the query."""
        return alignment.match(self.path)

    def similarity_picture(self) -> Figure:
        """The similarity of all moments, with the path."""
        table = alignment.similarity(self.a.vectors, self.b.vectors, limit=DISPLAY)
        lengths = (float(self.a.end_seconds[-1]), float(self.b.end_seconds[-1]))
        return pictures.similarity_picture(table, self.seconds(), lengths, self.names)

    def strip_picture(self, columns: int = 8) -> Figure:
        """Some frames of the query above the frames of the reference that they match."""
        rows = np.linspace(0, len(self.a) - 1, min(columns, len(self.a))).round().astype(np.int64)
        matched = self.matches()[rows]
        first = read(self.infos[0].path, self.a.first[rows], size=160, info=self.infos[0]).pixels
        second = read(
            self.infos[1].path, self.b.first[matched], size=160, info=self.infos[1]
        ).pixels
        captions = [f"{s:.2f} s" for s in self.a.start_seconds[rows]]
        return pictures.strip_picture([first, second], self.names, captions)

    def write(self, path: Path, *, show: bool = False) -> None:
        """Writes what the ending asks for: .csv or .json of matched times, .png of the similarity,
        or .mp4 of both videos side by side, the reference following the query.

        Raises StorageError where it cannot be written, ConfigError for another ending.
        """
        kind = path.suffix.lower()
        if kind == ".csv":
            self._write_csv(path)
        elif kind == ".json":
            write_json(path, self.as_dict())
        elif kind == ".png":
            pictures.save(self.similarity_picture(), path)
        elif kind == ".mp4":
            self._write_video(path, show)
        else:
            raise ConfigError(f"{path}: give a name that ends in .mp4, .csv, .json or .png.")

    def as_dict(self) -> dict[str, Any]:
        """The alignment as JSON data."""
        frames, seconds = self.frames(), self.seconds()
        return {
            "query": self.a.video,
            "reference": self.b.video,
            "matcher": self.path.method,
            "cost": self.path.cost,
            "alignability": self.alignability,
            "belong_together": self.belongs,
            "query_frames": frames[0].tolist(),
            "reference_frames": frames[1].tolist(),
            "query_seconds": seconds[0].round(6).tolist(),
            "reference_seconds": seconds[1].round(6).tolist(),
        }

    def _write_csv(self, path: Path) -> None:
        frames, seconds = self.frames(), self.seconds()
        with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(["query_frame", "reference_frame", "query_seconds", "reference_seconds"])
            for f, s in zip(frames.T, seconds.T, strict=True):
                out.writerow([f[0], f[1], f"{s[0]:.6f}", f"{s[1]:.6f}"])

    def _write_video(self, path: Path, show: bool) -> None:
        pages = self._pictures()
        first = next(pages)
        height, width = first.shape[:2]
        with (
            bar(f"Writing {path.name}", len(self.a), show) as advance,
            VideoWriter(path, self.infos[0].fps, height, width) as writer,
        ):
            for page in itertools.chain([first], pages):
                writer.write(page[None])
                advance()

    def _pictures(self) -> Iterator[U8]:
        """Side-by-side frames in the query's order; a few frames in memory at a time."""
        sizes = [min(LARGEST, info.height, info.width) for info in self.infos]
        matches = self.matches()
        for start in range(0, len(self.a), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(self.a)))
            left = read(self.infos[0].path, self.a.first[rows], size=sizes[0], info=self.infos[0])
            right = read(
                self.infos[1].path, self.b.first[matches[rows]], size=sizes[1], info=self.infos[1]
            )
            for k, row in enumerate(rows):
                at = (float(self.a.start_seconds[row]), float(self.b.start_seconds[matches[row]]))
                share = (row / len(self.a), float(matches[row] / len(self.b)))
                yield pictures.side_by_side(left.pixels[k], right.pixels[k], share, at)


def align(
    run: str | Path | Model,
    query: str | Path,
    reference: str | Path,
    *,
    matcher: Matcher = "dtw",
) -> Pair:
    """Lays two videos over one another by their embeddings.

    Args:
        run: a run folder or a loaded `Model`.
        matcher: "dtw", whole on whole; "subsequence", a short query anywhere inside a long
            reference; "nearest", every row on its own, in any order.

    Raises CheckpointError, VideoError; ConfigError for another matcher.
    """
    model = run if isinstance(run, Model) else Model(run)
    a, b = model.embed(query), model.embed(reference)
    infos = (probe(Path(query)), probe(Path(reference)))
    matchers = {
        "dtw": alignment.dtw,
        "subsequence": alignment.subsequence,
        "nearest": alignment.nearest,
    }
    if matcher not in matchers:
        raise ConfigError(f"There is no matcher {matcher!r}; there are {', '.join(matchers)}.")
    path = matchers[matcher](a.vectors, b.vectors)
    return Pair(a, b, infos, path, alignment.alignability(a.vectors, b.vectors))
