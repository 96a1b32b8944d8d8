"""Training steps from files and from stored features, and the usual way.

python benchmarks/training.py
"""

from __future__ import annotations

import harness
from baselines.eager_steps import EagerStep
from marey.bench import speed_training
from marey.bench.speed_cases import OURS, Case, Desk, Measured, Way


def cases(desk: Desk) -> Measured:
    yield from speed_training.training(desk)
    recipes = (
        (speed_training.carl_step(desk), 5),
        (speed_training.mcl_step(desk, published=True), 3),
    )
    for (recipe, what), reach in recipes:
        steps = speed_training.Steps(recipe, desk.videos(8), desk.folder / "cache", desk.where)
        batch = steps.wait()
        steps.close()
        usual = EagerStep(steps.method)
        ways = {OURS: Way(lambda: steps.compute(batch))}  # noqa: B023 - measured at once
        case = Case("training", f"{what}, computing alone", "s", ways, rounds=1)
        yield case.beside(
            "the usual way: eager, float32",
            lambda: usual(batch),  # noqa: B023
            reach=None if desk.quick else reach,
            warm=False,
        )


if __name__ == "__main__":
    harness.main(__doc__, {"training": cases})
