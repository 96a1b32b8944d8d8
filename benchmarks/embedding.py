"""Whole files to embeddings, where the time goes, and the usual way.

python benchmarks/embedding.py
"""

from __future__ import annotations

from dataclasses import replace

import harness
from baselines.embed_all import embed_all
from marey.bench import speed_training
from marey.bench.speed_cases import Case, Desk, Measured
from marey.published_recipes import carl_penn


def cases(desk: Desk) -> Measured:
    for case in speed_training.embedding(desk):
        yield beside(case, desk)
    if not desk.quick:
        recipe = carl_penn()
        encoder = replace(recipe.encoder, weights="random", frozen="all")
        recipe = replace(recipe, encoder=encoder)
        yield beside(speed_training.files(desk, recipe, "resnet50, 224 pixels", rounds=1), desk)


def beside(case: Case, desk: Desk) -> Case:
    model, path = case.inputs
    size = model.method.recipe.encoder.size
    asked = model.method.embeds == "frame" and not desk.quick
    return case.beside(
        "the usual way: all decoded, eager, float32",
        lambda: embed_all(model.method, path, size),
        reach=8 if asked else None,
        warm=case.rounds > 1,
    )


if __name__ == "__main__":
    harness.main(__doc__, {"embedding": cases})
