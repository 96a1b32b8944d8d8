"""Find the moment of a video in all others: the nearest row of each, best first.

marey embed run videos/ --out emb.parquet
python examples/find_moment.py emb.parquet a.mp4 1.5
"""

import sys
from pathlib import Path

import numpy as np

from marey import store


def main(table: str, video: str, second: str) -> None:
    for one in store.stream(Path(table)):
        if one.video == video:
            row = np.searchsorted(one.end_seconds, float(second), side="right")
            wanted = one.vectors[min(row, len(one) - 1)]
            break
    else:
        raise SystemExit(f"{table} has no video {video!r}.")

    found = []
    for one in store.stream(Path(table)):  # a video at a time: the table may be larger than memory
        if one.video != video:
            similarity = one.vectors @ wanted
            best = int(similarity.argmax())
            found.append((float(similarity[best]), one.video, one.start_seconds[best]))
    for similarity, name, at in sorted(found, reverse=True)[:10]:
        print(f"{similarity:.3f}  {at:6.2f} s of {name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
