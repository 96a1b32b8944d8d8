"""Speed of what comes after the network: alignment, search, and the command line itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from marey.alignment import dtw_path
from marey.bench.speed_cases import OURS, Case, Desk, Measured, Row, Way
from marey.bench.speed_memory import peak
from marey.moments import Archive, Moment
from marey.types import F32, Embeddings

DIMENSION = 128
TOP = 10


def alignment(desk: Desk) -> Measured:
    """Time warping over the length of the videos, against their distances alone.

    Matrix products get one thread, because waiting for a second one on a busy machine would be
    most of what is measured.
    """
    for length in (80, 200) if desk.quick else (80, 200, 800):
        yield warping(desk, length)
    yield warping(desk, 200 if desk.quick else 800, inside=True)
    length = 2000 if desk.quick else 10_000
    table = 8 * (length + 1) ** 2 / 1e6
    yield Row(
        "alignment",
        f"peak memory of time warping, {length} x {length}",
        "MB",
        peak("marey.bench.speed_answers:prepare_warping", length=length).added,
        "a table of float64, by arithmetic",
        table,
        limit=table,
    )


def warping(desk: Desk, length: int, *, inside: bool = False) -> Case:
    """Time warping of two videos; inputs: their rows.

    inside: the first, of an eighth of the length, is looked for in the second.
    """
    a, b = walks(length)
    if inside:
        a = a[length // 2 : length // 2 + length // 8]
    left, right = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    return Case(
        "alignment",
        f"{'subsequence' if inside else 'time warping'}, {len(a)} x {len(b)} x {DIMENSION}",
        "ms",
        {
            OURS: Way(one_thread(lambda: dtw_path(a, b, free_ends=inside))),
            "floor: distances alone": Way(one_thread(lambda: left @ right.T)),
        },
        inputs=(a, b),
        rounds=desk.rounds,
    )


def walks(length: int, dimension: int = DIMENSION) -> tuple[F32, F32]:
    """One random walk at two paces, with noise: two (length, dimension) float32."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(length, dimension)), axis=0)
    paces = [np.sort(rng.integers(0, length, length)) for _ in range(2)]
    a, b = (walk[pace] + rng.normal(size=walk.shape) for pace in paces)
    return a.astype(np.float32), b.astype(np.float32)


def one_thread(run: Callable[[], Any]) -> Callable[[], Any]:
    """The same on one thread of the library of matrix products."""
    libraries = ThreadpoolController()  # once, since to look for them takes milliseconds

    def alone() -> Any:
        with libraries.limit(limits=1):
            return run()

    return alone


def prepare_warping(length: int) -> Callable[[], object]:
    """For `peak`: time warping of two videos of that length."""
    a, b = walks(length)
    return lambda: dtw_path(a, b)


def search(desk: Desk) -> Measured:
    """The frames of an archive most like one frame, exactly, against reading the archive once.

    inputs: the archive (N, D) and the query (D,).
    """
    for rows in (10_000, 100_000) if desk.quick else (10_000, 100_000, 1_000_000):
        archive = random_archive(rows)
        query = archive.vectors[rows // 2] + 0.01 * archive.vectors[0]
        yield Case(
            "search",
            f"top {TOP} of {rows:,} frames x {DIMENSION}",
            "ms",
            {
                OURS: Way(partial(top, archive, query)),
                "floor: reading the rows once": Way(archive.vectors.max),
            },
            inputs=(archive.vectors, query),
            rounds=desk.rounds,
            limit=50.0 if rows == 1_000_000 else None,
        )


def random_archive(rows: int, dimension: int = DIMENSION) -> Archive:
    """Random rows of unit length, in videos of up to 1000 frames."""
    vectors = np.random.default_rng(0).standard_normal((rows, dimension), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    parts = np.split(vectors, range(1000, rows, 1000))
    return Archive(
        Embeddings(
            str(k),
            part,
            np.arange(len(part)),
            1,
            np.arange(len(part)) / 25,
            np.arange(1, len(part) + 1) / 25,
        )
        for k, part in enumerate(parts)
    )


def top(archive: Archive, query: F32, count: int = TOP) -> list[Moment]:
    """The frames of an archive most like a query (D,), best first, neighbours among them."""
    return archive.nearest(query, count, apart=0.0)


def startup(desk: Desk) -> Measured:
    """How soon the command line answers, against Python itself and against loading torch first."""

    def python(*arguments: str) -> Callable[[], object]:
        command = [sys.executable, *arguments]
        return lambda: subprocess.run(command, check=True, capture_output=True)

    floor = Way(python("-c", "pass"))
    for what in ("--version", "train --help"):
        yield Case(
            "start-up",
            f"marey {what}",
            "ms",
            {
                OURS: Way(python("-m", "marey", *what.split())),
                "the usual way: import torch": Way(python("-c", "import torch")),
                "floor: python": floor,
            },
            rounds=desk.rounds,
        )
