"""Trains recipes on a labelled corpus without its labels, scores them, and prints the tables.

    python benchmarks/frame_results.py LABELS.csv --recipes carl rotary --out results

Only videos with phase labels take part: those of the split `train` are learned from, the others
are scored. One model per recipe and seed for all actions. Stopped and started again it goes on;
recipes and seeds share the cached features.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import torch

from marey.embedding import Model
from marey.evaluation.protocol import evaluate
from marey.manifest import Manifest
from marey.recipes import RECIPES
from marey.training import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipes", nargs="+", default=["carl", "rotary", "marey"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--size", type=int, default=112, help="side of a view in pixels")
    parser.add_argument("--steps", type=int, default=1000)
    given = parser.parse_args()

    table = Manifest.read(given.labels)
    corpus = Manifest(tuple(entry for entry in table if entry.boundaries))
    for name in given.recipes:
        for seed in given.seeds:
            recipe = RECIPES[name]()
            recipe = replace(
                recipe,
                seed=seed,
                encoder=replace(recipe.encoder, size=given.size),
                data=replace(recipe.data, steps=given.steps),
            )
            run = given.out / f"{name}-{seed}"
            done = train(
                corpus.select(split="train"), run, recipe, cache=given.out / "cache", show=True
            )
            if (run / "scores.md").exists():
                print((run / "scores.md").read_text())
                continue
            started = time.monotonic()
            scores = evaluate(Model(run), corpus, show=True)
            scores.write(run / "scores.csv")
            scores.write(run / "scores.md")
            facts = {
                "recipe": name,
                "seed": seed,
                "train_seconds": round(done.seconds),
                "evaluate_seconds": round(time.monotonic() - started),
                "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
                "torch": torch.__version__,
                "commit": subprocess.run(
                    ["git", "rev-parse", "--short", "HEAD"],
                    capture_output=True,
                    text=True,
                    check=False,
                ).stdout.strip(),
            }
            (run / "facts.json").write_text(json.dumps(facts, indent=2))
            print(json.dumps(facts))
            print(scores.markdown())


if __name__ == "__main__":
    main()
