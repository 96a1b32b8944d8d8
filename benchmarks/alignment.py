"""Time and memory of dynamic time warping over the length of the videos, against Python loops.

python benchmarks/alignment.py --lengths 80 200 800 --long 10000 --repeats 5
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from marey.alignment import dtw_path

sys.path.insert(0, str(Path(__file__).parent))

from baselines.dtw_loops import dtw_loops


def run(
    lengths: tuple[int, ...] = (80, 200, 800),
    long: tuple[int, ...] = (10_000,),
    dimension: int = 128,
    repeats: int = 5,
) -> dict[str, Any]:
    """One row per length: median seconds, and the peak of what Python and numpy allocate.

    At `lengths` both ways take turns, so that whatever else the machine does meets both, and must
    agree on the total; at `long` lengths only Marey runs. Matrix products get one thread, because
    waiting for a second one on a busy machine would be most of what is measured.
    """
    with threadpool_limits(1):
        rows = [_row(length, length in lengths, dimension, repeats) for length in (*lengths, *long)]
    return {"dimension": dimension, "repeats": repeats, "rows": rows}


def _row(length: int, compare: bool, dimension: int, repeats: int) -> dict[str, Any]:
    a, b = _videos(length, dimension)
    ways: dict[str, Callable[..., Any]] = {"marey": dtw_path}
    if compare:
        ways["loops"] = dtw_loops
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    totals = {}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            totals[name] = way(a, b)[0]
            seconds[name].append(time.perf_counter() - start)
    np.testing.assert_allclose(totals["marey"], [*totals.values()], rtol=1e-5)
    row: dict[str, Any] = {"length": length}
    for name, way in ways.items():
        row[f"{name}_seconds"] = median(seconds[name])
        row[f"{name}_megabytes"] = _peak(way, a, b)
    if "loops" in ways:
        row["ratio"] = row["loops_seconds"] / row["marey_seconds"]
    return row


def _videos(length: int, dimension: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """One random walk at two paces, with noise: two (length, dimension) float32."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(length, dimension)), axis=0)
    paces = (np.sort(rng.integers(0, length, length)) for _ in range(2))
    a, b = (walk[pace] + rng.normal(size=walk.shape) for pace in paces)
    return a.astype(np.float32), b.astype(np.float32)


def _peak(way: Callable[..., Any], *arguments: Any) -> float:
    tracemalloc.start()
    way(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="*", default=[80, 200, 800])
    parser.add_argument("--long", type=int, nargs="*", default=[10_000])
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    result = run(tuple(args.lengths), tuple(args.long), args.dimension, args.repeats)
    print("   frames      marey                 loops              ratio")
    for row in result["rows"]:
        line = f"{row['length']:9d} {row['marey_seconds']:9.4f} s {row['marey_megabytes']:6.0f} MB"
        if "ratio" in row:
            line += f" {row['loops_seconds']:9.4f} s {row['loops_megabytes']:6.0f} MB"
            line += f" {row['ratio']:9.0f}"
        print(line)


if __name__ == "__main__":
    main()
