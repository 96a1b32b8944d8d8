"""FineGym (Gym99, Gym288): gymnastics competitions, cut into events, with named elements.

Shao, Zhao, Dai, Lin, *FineGym: A Hierarchical Video Dataset for Fine-grained Action Understanding*,
CVPR 2020. Lists from https://sdolivia.github.io/FineGym; the recordings come from YouTube, or from
the authors on request. All in one folder, in whatever folders below it:

    finegym_annotation_info_v1.1.json
    gym99_train_element_v1.1.txt, gym99_val_element.txt     (gym288_... likewise)
    0LtLS9wROrk.mp4     (.mkv, .webm: recordings by their name on YouTube)

Where a file of v1.1 is not there, that of v1.0 is read, with which CARL's authors prepared theirs.

As in CARL (CVPR 2022, section 5.1), a video is an event with at least one element of the list, cut
to 640 x 360 pixels and 25 frames per second. Events that are there already, under their names
(`0LtLS9wROrk_E_002407_002435.mp4`), are used as they are.

Complete, in elements: Gym99 20,484 train (v1.1) and 8,521 val; Gym288 22,671 and 9,646.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from marey.datasets.listing import Found, Listing, Tree, foreign, read_json, read_text
from marey.datasets.making import FPS, cut
from marey.errors import ConfigError
from marey.manifest import Entry
from marey.types import I64

EVENTS = {1: "vault", 2: "floor_exercise", 3: "balance_beam", 4: "uneven_bars"}
"""What the numbers of the annotations stand for; the `action` of a video."""


def read(root: Path, work: Path, *, classes: int = 99) -> Listing:
    """The events as `train` and `val`, their elements in the column `elements` (see `labels`).

    An event may have elements in both lists; it is then in both splits, each with its own.
    Raises ConfigError for other classes, ManifestError where the lists are not there or no lists.
    """
    if classes not in (99, 288):
        raise ConfigError(f"FineGym has 99 or 288 classes, not {classes}.")
    tree, listing = Tree(root, work), Listing()
    annotations = _newest(tree, "finegym_annotation_info_{}.json", "the annotations of FineGym")
    known = read_json(annotations)
    events: dict[str, dict[str, dict[str, int]]] = {}
    for split, name in (("train", "train_element_{}"), ("val", "val_element")):
        path = _newest(tree, f"gym{classes}_{name}.txt", f"the list of {split} elements of FineGym")
        events[split] = _by_event(path)
    lost: Counter[str] = Counter()
    for split, elements in events.items():
        for event, labels in elements.items():
            recording, _, rest = event.rpartition("_E_")  # names may hold "_E_" as well
            try:
                about = known[recording][f"E_{rest}"]
                start, end = map(float, about["timestamps"][0])
                frames = max(1, round((end - start) * FPS))
                numbers = _numbers(about["segments"] or {}, labels, frames)
                action = EVENTS[about["event"]]
            except (TypeError, KeyError, ValueError, IndexError):
                told = f"{annotations} says nothing that makes sense of it; it is left out."
                listing.unexpected.append((event, told))
                continue
            if video := tree.video(event):
                entry = Entry(tree.name(video), video, split, action)
                listing.found.append(Found(entry, elements=numbers))
            elif source := tree.video(recording):
                shared = all(event in known_events for known_events in events.values())
                path = (work / split if shared else work) / f"{event}.mp4"
                make = partial(cut, source, start, frames)
                entry = Entry(event, path, split, action)
                listing.found.append(Found(entry, make, elements=numbers))
            else:
                lost[recording] += 1
    listing.missing += (
        (name, f"the recording is not there, and so are not {count} events; download it again.")
        for name, count in lost.items()
    )
    listing.surplus(tree)
    return listing


def _newest(tree: Tree, name: str, what: str) -> Path:
    """The file of v1.1, else that of v1.0. Raises ManifestError where there is none."""
    names = [name.format(version) for version in ("v1.1", "v1.0")]
    return tree.file(next((one for one in names if tree.files(one.__eq__)), names[0]), what)


def _by_event(path: Path) -> dict[str, dict[str, int]]:
    """The class of every element of a list, by event: {event: {"A_0003_0005": 42}}."""
    events: dict[str, dict[str, int]] = defaultdict(dict)
    for line in read_text(path):
        try:
            name, number = line.split()
            event, _, element = name.rpartition("_A_")
            events[event][f"A_{element}"] = int(number)
        except ValueError as error:
            raise foreign(path, "a list of FineGym (0LtLS9wROrk_E_1_2_A_3_4 42)") from error
    return events


def _numbers(segments: dict[str, Any], labels: dict[str, int], frames: int) -> I64:
    """(frames,) class of the element in every frame, -1 = none: CARL's labels.

    Times are seconds from the start of the event; of an element in stages the last one counts.
    """
    numbers = np.full(frames, -1, np.int64)
    for name in segments:
        if name in labels:
            start, end = map(float, segments[name]["timestamps"][-1])
            numbers[int(start * FPS) : int(end * FPS) + 1] = labels[name]
    return numbers
