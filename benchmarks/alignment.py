"""Time warping over the length of the videos, time and memory, against Python loops.

python benchmarks/alignment.py
"""

from __future__ import annotations

from functools import partial

import harness
from baselines.dtw_loops import dtw_loops
from marey.bench import speed_answers
from marey.bench.speed_cases import Case, Desk, Measured


def cases(desk: Desk) -> Measured:
    for case in speed_answers.alignment(desk):
        if not isinstance(case, Case):
            yield case
            continue
        a, b = case.inputs
        inside = len(a) < len(b)
        loops = speed_answers.one_thread(partial(dtw_loops, a, b, free_ends=inside))
        reach = 20 if len(a) == 800 else None
        yield case.beside("the usual way: Python loops", loops, reach=reach, warm=False)


if __name__ == "__main__":
    harness.main(__doc__, {"alignment": cases})
