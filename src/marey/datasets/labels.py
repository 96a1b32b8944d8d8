"""Labels of frames: one number per frame, and the two forms in which a table keeps them."""

from __future__ import annotations

import re

import numpy as np

from marey.errors import ManifestError
from marey.manifest import Entry, Manifest
from marey.types import I64

COLUMN = "elements"
"""The column of a table with `spans` in it."""


def boundaries(phases: I64) -> tuple[int, ...] | None:
    """First frames of the phases 1, 2, ...; None for numbers that do not run 0, 1, 2, ... in order.

    phases: (N,) a phase number for every frame.
    """
    steps = np.diff(phases)
    if not len(phases) or phases[0] != 0 or not np.isin(steps, (0, 1)).all():
        return None
    return tuple((np.flatnonzero(steps) + 1).tolist())


def stretch(labels: I64, frames: int) -> I64:
    """(frames,) labels at even distances, as CARL's preparation does where the lengths differ."""
    return labels[np.arange(frames) * len(labels) // frames]


def spans(elements: I64) -> str:
    """What is done when, as text: `31-57:4 80-99:12`, first and last frame and number.

    elements: (N,) numbers; frames with a negative one are not mentioned.
    """
    cuts = np.flatnonzero(np.diff(elements)) + 1
    starts, ends = np.concatenate([[0], cuts]), np.concatenate([cuts, [len(elements)]]) - 1
    return " ".join(
        f"{start}-{end}:{elements[start]}"
        for start, end in zip(starts, ends, strict=True)
        if start <= end and elements[start] >= 0
    )


def elements(entry: Entry, frames: int) -> I64:
    """(frames,) number of what is done in every frame of a video, -1 = nothing that has a name.

    The inverse of `spans`, for tables of FineGym.
    Raises ManifestError where the video has no such labels, or fewer frames than they speak of.
    """
    labels = np.full(frames, -1)
    if COLUMN not in entry.extra:
        raise ManifestError(f"{entry.name} has no column {COLUMN}; prepare FineGym again.")
    for span in entry.extra[COLUMN].split():
        match = re.fullmatch(r"(\d+)-(\d+):(\d+)", span)
        if not match or not int(match[1]) <= int(match[2]) < frames:
            raise ManifestError(
                f"the {COLUMN} of {entry.name} hold {span!r}, which is no span of its {frames} "
                "frames; prepare FineGym again."
            )
        labels[int(match[1]) : int(match[2]) + 1] = int(match[3])
    return labels


def names_elements(manifest: Manifest) -> bool:
    """Whether `elements` are what is known of the frames of a corpus, and not boundaries."""
    return any(entry.extra.get(COLUMN) for entry in manifest) and all(
        entry.boundaries is None for entry in manifest
    )
