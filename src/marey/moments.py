"""Search by moment: the places in many videos that look most like one moment of one video."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marey import pictures, store
from marey.errors import ConfigError, ShapeError
from marey.files import replacing, write_json
from marey.types import F32, I64, U8, Embeddings
from marey.video import read

APART = 1.0
"""Seconds between two moments of one video, by default: neighbours of a frame are all like it."""

_UNIT = 2.0**-20  # similarities that differ by less are equal: products in float32 know no better
_PRINTED = 1e-6  # seconds; times are written with six digits, and shall lead back to their frame


@dataclass(frozen=True, slots=True)
class Moment:
    """A span of a video, and how like the query it is.

    video: its name in the archive.
    first: its first frame.  frames: how many it has.
    start_seconds, end_seconds: its time.
    similarity: cosine of the two embeddings, -1..1.
    """

    video: str
    first: int
    frames: int
    start_seconds: float
    end_seconds: float
    similarity: float


class Archive:
    """The embeddings of many videos as one table, held in memory once, to be searched.

    Args:
        videos: embeddings by one network, such as `store.read` or `marey.embed` give them.

    Raises ShapeError where D differs between them, ConfigError where there is no row, or two
    videos have one name.
    """

    def __init__(self, videos: Iterable[Embeddings]) -> None:
        kept = [one for one in videos if len(one)]
        names = Counter(one.video for one in kept)
        if not kept:
            raise ConfigError("There is no embedding to search; embed some videos first.")
        name, count = names.most_common(1)[0]
        if count > 1:
            raise ConfigError(f"{name} is {count} times among the videos; give it once.")
        widths = {one.vectors.shape[1] for one in kept}
        if len(widths) > 1:
            raise ShapeError(f"the videos have embeddings of different sizes D: {sorted(widths)}")
        self.vectors: F32 = np.concatenate([one.vectors for one in kept])
        self._starts = np.concatenate([one.start_seconds for one in kept])
        self._offsets = np.cumsum([0, *map(len, kept)])
        self._number = {one.video: i for i, one in enumerate(kept)}
        # vectors are views of the one table, so that nothing is in memory twice
        self._videos = [
            Embeddings(
                one.video,
                self.vectors[start:stop],
                one.first,
                one.span,
                self._starts[start:stop],
                one.end_seconds,
            )
            for one, start, stop in zip(kept, self._offsets, self._offsets[1:], strict=False)
        ]

    @staticmethod
    def read(path: str | Path) -> Archive:
        """The archive of a file that `marey embed` wrote. Raises StorageError for any other."""
        return Archive(store.stream(Path(path)))

    @property
    def names(self) -> tuple[str, ...]:
        """The videos' names, in their order."""
        return tuple(self._number)

    def __len__(self) -> int:
        """Rows of all videos."""
        return len(self.vectors)

    def __getitem__(self, name: str) -> Embeddings:
        """One video's embeddings. Raises ConfigError where the archive has no such video."""
        if name not in self._number:
            raise ConfigError(
                f"{name} is not among the {len(self.names)} videos of the archive, such as "
                f"{self.names[0]}; give a name as it is there, or a run to embed the video with."
            )
        return self._videos[self._number[name]]

    def nearest(
        self,
        vector: F32,
        count: int = 10,
        *,
        apart: float = APART,
        per_video: int | None = None,
        without: tuple[str, float] | None = None,
    ) -> list[Moment]:
        """The moments most like a vector (D,), best first; of equal ones the earliest.

        A moment stands for its surroundings: nothing in its video that starts less than `apart`
        seconds from it is more like the query. Exact: every row is compared.

        per_video: at most so many of one video.  without: a video and a second of it; what starts
        there, or less than `apart` from there, is left out.
        Raises ShapeError for another D, or a vector or embeddings that are not finite, or zero;
        ConfigError for a count below 1 or a negative `apart`.
        """
        if count < 1 or (per_video is not None and per_video < 1) or not apart >= 0:
            raise ConfigError("count and per_video must be at least 1, and apart at least 0.")
        likeness = self._likeness(vector)
        found: list[int] = []
        taken: Counter[int] = Counter()
        for row in self._peaks(likeness, count, apart):
            video = self._of(row)
            if per_video is not None and taken[video] >= per_video:
                continue
            if without is not None and self._videos[video].video == without[0]:
                distance = abs(float(self._starts[row]) - without[1])
                if distance < apart or distance == 0:
                    continue
            taken[video] += 1
            found.append(row)
            if len(found) == count:
                break
        return [self._moment(row, float(likeness[row])) for row in found]

    def _likeness(self, vector: F32) -> F32:
        vector = np.asarray(vector, np.float32)
        if vector.shape != (self.vectors.shape[1],):
            raise ShapeError(
                f"the query must be ({self.vectors.shape[1]},) as the archive's embeddings, not "
                f"{vector.shape}; embed it with the same run"
            )
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0:
            raise ShapeError("the query must be finite and not zero")
        # NumPy's product, not torch's, which on some processors takes four times as long
        likeness: F32 = self.vectors @ (vector / length)
        if not np.isfinite(likeness).all():
            broken = self._videos[self._of(int(np.isfinite(likeness).argmin()))].video
            raise ShapeError(f"{broken} has embeddings that are not finite; embed it again")
        return likeness

    def _peaks(self, likeness: F32, count: int, apart: float) -> Iterator[int]:
        """Rows that are most like the query among their surroundings, best first."""
        rows, seen = len(likeness), 0
        while seen < rows:
            # a few at first, since sorting all of them would take longer than comparing them
            wanted = min(rows, max(64, 8 * count, 8 * seen))
            least = np.partition(likeness, rows - wanted)[rows - wanted]
            best = np.flatnonzero(likeness >= least - _UNIT)
            values = _rounded(likeness[best])
            whole = values >= _rounded(least)  # all rows of these values, and none of others
            order = best[whole][np.argsort(-values[whole], kind="stable")]
            for row in order[seen:]:
                if self._is_peak(likeness, int(row), apart):
                    yield int(row)
            seen = len(order)

    def _is_peak(self, likeness: F32, row: int, apart: float) -> bool:
        near = self._near(self._of(row), float(self._starts[row]), apart)
        if near.stop - near.start <= 1:
            return True
        return bool(near.start + int(_rounded(likeness[near]).argmax()) == row)

    def _near(self, video: int, seconds: float, apart: float) -> slice:
        """Rows of a video that start less than `apart` from that second."""
        start, stop = self._offsets[video : video + 2]
        times = self._starts[start:stop]
        low = np.searchsorted(times, seconds - apart, side="right")
        high = np.searchsorted(times, seconds + apart, side="left")
        return slice(int(start + low), int(start + high))

    def _of(self, row: int) -> int:
        """Number of the video that a row belongs to."""
        return int(np.searchsorted(self._offsets, row, side="right")) - 1

    def _moment(self, row: int, similarity: float) -> Moment:
        video = self._of(row)
        return _moment(self._videos[video], row - int(self._offsets[video]), similarity)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: the moment that was looked for, and those like it, best first."""

    query: Moment
    moments: tuple[Moment, ...]

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON data."""
        return {"query": asdict(self.query), "moments": [asdict(one) for one in self.moments]}

    def write(self, path: Path, *, videos: str | Path = ".") -> None:
        """Writes what the ending asks for: .csv or .json of the moments, .png of their frames.

        videos: folder that the names of the videos start from, for their frames; what is not
            there is looked for where its name says.
        Raises StorageError where it cannot be written, VideoError where a video for the picture
        cannot be read, ConfigError for another ending.
        """
        kind = path.suffix.lower()
        if kind == ".csv":
            with replacing(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
                out = csv.DictWriter(file, Moment.__slots__)
                out.writeheader()
                out.writerows(map(_written, self.moments))
        elif kind == ".json":
            write_json(path, self.as_dict())
        elif kind == ".png":
            all_of_them = (self.query, *self.moments)
            tiles = [_frame(one, Path(videos)) for one in all_of_them]
            captions = [f"{one.start_seconds:.2f} s, {one.similarity:.2f}" for one in self.moments]
            names = [one.video for one in all_of_them]
            captions.insert(0, f"{self.query.start_seconds:.2f} s, the query")
            pictures.save(pictures.tiles_picture(tiles, names, captions), path)
        else:
            raise ConfigError(f"{path}: give a name that ends in .csv, .json or .png.")


def search(
    archive: str | Path | Archive | Sequence[Embeddings],
    query: str | Embeddings,
    at: float,
    *,
    count: int = 10,
    apart: float = APART,
    per_video: int | None = None,
) -> Found:
    """The moments of an archive most like one moment of a video.

    Args:
        archive: a file that `marey embed` wrote, or embeddings; an `Archive` for many searches.
        query: a video of the archive by its name, or the embeddings of another by the same run.
        at: second of it. Of spans that overlap, the one whose middle is nearest.
        count: how many, best first.
        apart: seconds between two moments of one video, at least.
        per_video: at most so many of one video; None = any number.

    Where the query is a name, the moment itself is left out, with what lies less than `apart`
    seconds from it.
    Raises StorageError, ShapeError; ConfigError where the video or that second of it is missing.
    """
    if isinstance(archive, str | Path):
        archive = Archive.read(archive)
    elif not isinstance(archive, Archive):
        archive = Archive(archive)
    video = archive[query] if isinstance(query, str) else query
    row = _row_at(video, at)
    itself = (video.video, float(video.start_seconds[row])) if isinstance(query, str) else None
    found = archive.nearest(
        video.vectors[row], count, apart=apart, per_video=per_video, without=itself
    )
    return Found(_moment(video, row, 1.0), tuple(found))


def _row_at(video: Embeddings, at: float) -> int:
    starts, ends = video.start_seconds, video.end_seconds
    rows = np.flatnonzero((starts <= at + _PRINTED) & (at + _PRINTED < ends))
    if not rows.size:
        raise ConfigError(
            f"{video.video} has embeddings from {starts[0]:.2f} to {ends.max():.2f} s, and none at "
            f"{at:g} s."
        )
    middles = (starts[rows] + ends[rows]) / 2
    return int(rows[np.abs(middles - at).argmin()])


def _rounded(likeness: F32) -> I64:
    units: I64 = np.rint(likeness / np.float32(_UNIT)).astype(np.int64)
    return units


def _moment(video: Embeddings, row: int, similarity: float) -> Moment:
    return Moment(
        video.video,
        int(video.first[row]),
        video.span,
        float(video.start_seconds[row]),
        float(video.end_seconds[row]),
        similarity,
    )


def _written(moment: Moment) -> dict[str, Any]:
    digits = {"start_seconds": 6, "end_seconds": 6, "similarity": 6}
    values = asdict(moment)
    return values | {name: f"{values[name]:.{places}f}" for name, places in digits.items()}


def _frame(moment: Moment, videos: Path) -> U8:
    """(H, W, 3) uint8, the frame in the middle of a moment."""
    middle = moment.first + moment.frames // 2
    path = videos / moment.video
    if not path.exists() and Path(moment.video).exists():  # a query from elsewhere
        path = Path(moment.video)
    frame: U8 = read(path, [middle], size=160).pixels[0]
    return frame
