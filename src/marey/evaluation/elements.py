"""What is done in a frame, read from its embedding by a linear layer: FineGym's elements.

The protocol of CARL (Chen et al., CVPR 2022) on FineGym99 and FineGym288: every frame of a
training video that shows a named element teaches a linear layer on the frames' embeddings, and the
score is the share of the labelled validation frames that it names right. Beside the run stand the
baselines of `marey.evaluation.protocol`, and all is repeated on shifted videos.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from marey.data import LeftOut, survey
from marey.datasets.labels import COLUMN, elements
from marey.embedding import Model
from marey.errors import ManifestError, VideoError
from marey.evaluation import frames as metrics
from marey.evaluation.linear import linear_accuracy
from marey.evaluation.protocol import BASELINES, SHIFT_SEED, by_name, networks, see_features
from marey.evaluation.scores import Row, Scores
from marey.files import storing
from marey.manifest import Manifest
from marey.progress import bar
from marey.types import F32, I64

ALL = "all"
"""The action of the rows: one layer for the elements of all events."""


def evaluate_elements(
    run: str | Path | Model,
    labels: str | Path | Manifest,
    *,
    baselines: bool = True,
    scratch: str | Path | None = None,
    show: bool = False,
) -> Scores:
    """Scores a run of frame embeddings on videos of which frames show named elements.

    The table is one of `marey prepare finegym` or `carl`: `path`, `split` ("train" teaches the
    layer, every other split is scored) and `elements`, `31-57:4 80-99:12`, first and last frame and
    number of the element. The network sees whole videos; only labelled frames are
    kept, in files, so that memory does not grow with the corpus.

    Args:
        baselines: also score clock, frozen and untrained.
        scratch: folder for these files, which are deleted at the end: about 2 bytes for every
            number, 10 GB for all baselines of FineGym99 with ResNet-50.

    Raises ManifestError where there is nothing to learn from or to score, ConfigError for a run
    that embeds clips, StorageError where there is no room.
    """
    model = run if isinstance(run, Model) else Model(run)
    method, untrained = networks(model)
    manifest = labels if isinstance(labels, Manifest) else Manifest.read(Path(labels))
    named = [entry for entry in manifest if entry.extra.get(COLUMN)]
    if {entry.split == "train" for entry in named} != {True, False}:
        raise ManifestError(
            f"The table must hold videos with {COLUMN} both of the split `train` and of another "
            f"one to score; it has {len(named)} videos with {COLUMN}."
        )
    corpus = survey(Manifest(tuple(named)), show)
    left_out: list[LeftOut] = list(corpus.left_out)
    method.expect(corpus.frames)
    rng = np.random.default_rng(SHIFT_SEED)
    untaught = None if method.cacheable else untrained
    embeddings = by_name(method, untrained, model.device, BASELINES if baselines else ())
    rows: list[Row] = []
    with _shelf(scratch) as shelf:
        with bar("Embedding labelled videos", len(corpus), show) as advance:
            for entry, info in zip(corpus.entries, corpus.infos, strict=True):
                shifted = metrics.shift(info.frames, rng)
                try:
                    numbers = elements(entry, info.frames)
                    video = see_features(entry, info, shifted, method, untaught, model.device)
                except (VideoError, ManifestError) as error:
                    left_out.append((entry.name, str(error)))
                    continue
                for name, embed in embeddings.items():
                    for part in (slice(0, info.frames), shifted):
                        keys = (name, part is shifted, video.train)
                        shelf.of(*keys).add(embed(video, part), numbers[part])
                advance(note=entry.name)
        with bar("Scoring", 2 * len(embeddings), show) as advance:
            for name in embeddings:
                for is_shifted in (False, True):
                    known = shelf.of(name, is_shifted, True).read()
                    asked = shelf.of(name, is_shifted, False).read()
                    if not len(known[1]) or not len(asked[1]):
                        raise ManifestError(
                            "No labelled frame is left to learn from or to score; "
                            f"{len(left_out)} of {len(named)} videos cannot be read."
                        )
                    share = linear_accuracy(*known, *asked, where=model.device)
                    rows.append(Row(name, is_shifted, ALL, {"elements": share}))
                    advance(note=name)
    return Scores(tuple(rows), tuple(left_out), str(model.run), str(labels))


@dataclass
class _Rows:
    """Rows of labelled frames in a file, and their labels in memory."""

    path: Path
    file: BinaryIO
    width: int = 1
    labels: list[I64] = field(default_factory=list)

    def add(self, rows: F32, numbers: I64) -> None:
        """Keeps the rows (N, D) of the frames whose number is not negative."""
        kept = numbers >= 0
        self.width = rows.shape[1]
        self.labels.append(numbers[kept])
        with storing(self.path):
            self.file.write(rows[kept].astype(np.float16).tobytes())

    def read(self) -> tuple[NDArray[np.float16], I64]:
        """(N, D) mapped from the file, and (N,)."""
        with storing(self.path):
            self.file.flush()
        labels = np.concatenate([np.zeros(0, np.int64), *self.labels])
        shape = (len(labels), self.width)
        if not len(labels):
            return np.zeros(shape, np.float16), labels
        return np.memmap(self.path, np.float16, "r", shape=shape), labels


class _Shelf:
    """A file of rows for each embedding, condition and split."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.rows: dict[tuple[str, bool, bool], _Rows] = {}

    def of(self, name: str, shifted: bool, train: bool) -> _Rows:
        key = (name, shifted, train)
        if key not in self.rows:
            path = self.folder / f"{len(self.rows)}.f16"
            with storing(path):
                self.rows[key] = _Rows(path, self.stack.enter_context(path.open("wb")))
        return self.rows[key]


@contextmanager
def _shelf(folder: str | Path | None) -> Iterator[_Shelf]:
    if folder is not None:
        with storing(Path(folder)):
            Path(folder).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as made, ExitStack() as stack:
        yield _Shelf(Path(made), stack)
