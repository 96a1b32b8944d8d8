"""What a search by moment finds in videos of many actions: how much of it is the same moment.

    python benchmarks/moments_found.py emb.parquet labels.csv --split test

For frames drawn from the labelled videos, the ten most like them, from ten other videos. Beside it
stands chance: a frame drawn from each of ten other videos.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from marey.manifest import Entry, Manifest
from marey.moments import Archive, search

TOP = 10


def run(
    embeddings: Path, labels: Path, *, split: str = "", queries: int = 400, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Shares of what is found, 0..1, by the search and by chance.

    `action`: shows the action of the query.  `moment`: and the same phase of it.
    `most`: as `action`, of a search that finds nothing else while there is any of it.
    split: look for, and among, videos of this split alone.
    """
    entries = {e.name: e for e in Manifest.read(labels) if e.boundaries is not None}
    entries = {name: e for name, e in entries.items() if not split or e.split == split}
    whole = Archive.read(embeddings)
    archive = Archive(whole[name] for name in whole.names if name in entries)
    names = np.array(archive.names)
    phases = {name: entries[name].phases(len(archive[name])) for name in names}
    rng = np.random.default_rng(seed)
    owner = np.repeat(names, [len(archive[name]) for name in names])
    found: list[tuple[float, float]] = []
    guessed: list[tuple[float, float]] = []
    most = []
    for name in rng.choice(owner, queries):
        row = int(rng.integers(len(archive[name])))
        at = float(archive[name].start_seconds[row])
        # one more than asked for, since the video itself is among them
        hits = search(archive, str(name), at, count=TOP + 1, per_video=1).moments
        others = [(hit.video, hit.first) for hit in hits if hit.video != name][:TOP]
        drawn = rng.choice(names[names != name], TOP, replace=len(names) <= TOP)
        chance = [(str(other), int(rng.integers(len(archive[other])))) for other in drawn]
        asked = (entries[name], int(phases[name][row]))
        found.append(_shares(others, asked, entries, phases))
        guessed.append(_shares(chance, asked, entries, phases))
        same = sum(entries[other].action == entries[name].action for other in names) - 1
        most.append(min(1.0, same / TOP))
    columns = ("action", "moment")
    return {
        "search": dict(zip(columns, np.mean(found, axis=0).tolist(), strict=True)),
        "chance": dict(zip(columns, np.mean(guessed, axis=0).tolist(), strict=True)),
        "most": {"action": float(np.mean(most))},
    }


def _shares(
    moments: list[tuple[str, int]],
    asked: tuple[Entry, int],
    entries: dict[str, Entry],
    phases: dict[str, np.ndarray],
) -> tuple[float, float]:
    entry, phase = asked
    action = [entries[name].action == entry.action for name, _ in moments]
    same = [phases[name][row] == phase for name, row in moments]
    return float(np.mean(action)), float(np.mean(np.logical_and(action, same)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("embeddings", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--split", default="")
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(run(**vars(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
