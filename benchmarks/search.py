"""The frames of an archive most like one frame, over the archive's size.

python benchmarks/search.py
"""

from __future__ import annotations

from functools import partial

import harness
from baselines.argsort_search import argsort_search
from marey.bench import speed_answers
from marey.bench.speed_cases import Desk, Measured


def cases(desk: Desk) -> Measured:
    for case in speed_answers.search(desk):
        way = partial(argsort_search, *case.inputs, speed_answers.TOP)
        yield case.beside("the usual way: all sorted", way)


if __name__ == "__main__":
    harness.main(__doc__, {"search": cases})
