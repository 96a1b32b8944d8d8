"""How well scores of alignability tell pairs of the same action from pairs of different ones.

    python benchmarks/alignability.py embeddings.npz --pairs 500

The .npz file holds V videos: `names` (V,), `actions` (V,), `lengths` (V,) and `vectors`
(sum of lengths, D), the embeddings of all videos one after the other.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from sklearn.metrics import roc_auc_score

from marey.alignment import alignability, dtw, nearest, similarity

Array = np.ndarray[Any, Any]


def _low_cost(a: Array, b: Array) -> float:
    """Mean similarity along the path."""
    return 1 - dtw(a, b).cost


def _margin(a: Array, b: Array) -> float:
    """Mean distance along the path against that of all pairs of frames."""
    return 1 - dtw(a, b).cost / float(1 - similarity(a, b).mean())


def _cycle(a: Array, b: Array) -> float:
    """Share of frames whose nearest neighbour's nearest neighbour is within 5 % of the length."""
    back = nearest(b, a).path[1][nearest(a, b).path[1]]
    return float(np.mean(np.abs(back - np.arange(len(a))) <= 0.05 * len(a) + 1))


def _order(a: Array, b: Array) -> float:
    """Mean Kendall's tau of the nearest neighbours, both ways."""
    taus = [kendalltau(*nearest(x, y).path).statistic for x, y in ((a, b), (b, a))]
    return float(np.nan_to_num(taus).mean())


CANDIDATES: dict[str, Callable[[Array, Array], float]] = {
    "alignability": alignability,
    "low cost": _low_cost,
    "margin": _margin,
    "cycle": _cycle,
    "order": _order,
}


def run(embeddings: Path, pairs: int = 500, seed: int = 0) -> list[dict[str, Any]]:
    """One row per candidate: AUC, and quantiles (0.1, 0.5, 0.9) of same and different pairs.

    `threshold` is where the two kinds are told apart best, `accuracy` the mean of the two rates.
    """
    table = np.load(embeddings)
    videos = np.split(table["vectors"], np.cumsum(table["lengths"])[:-1])
    actions = table["actions"]
    rng = np.random.default_rng(seed)
    every = rng.permutation(list(itertools.combinations(range(len(videos)), 2)))
    same = actions[every[:, 0]] == actions[every[:, 1]]
    chosen = np.concatenate([every[same][:pairs], every[~same][:pairs]])
    truth = actions[chosen[:, 0]] == actions[chosen[:, 1]]
    rows = []
    for name, score in CANDIDATES.items():
        found = np.array([score(videos[i], videos[j]) for i, j in chosen])
        rates = [(found[truth] >= at).mean() / 2 + (found[~truth] < at).mean() / 2 for at in found]
        rows.append(
            {
                "candidate": name,
                "auc": float(roc_auc_score(truth, found)),
                "same": np.quantile(found[truth], [0.1, 0.5, 0.9]).tolist(),
                "different": np.quantile(found[~truth], [0.1, 0.5, 0.9]).tolist(),
                "threshold": float(found[int(np.argmax(rates))]),
                "accuracy": float(max(rates)),
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("embeddings", type=Path)
    parser.add_argument("--pairs", type=int, default=500, help="of either kind")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("candidate       AUC   same 10/50/90 %      different           best threshold")
    for row in run(args.embeddings, args.pairs, args.seed):
        same, different = (
            " ".join(f"{value:5.2f}" for value in row[kind]) for kind in ("same", "different")
        )
        print(
            f"{row['candidate']:14s} {row['auc']:.3f}  {same}   {different}   "
            f"{row['threshold']:.2f} ({row['accuracy']:.0%} right)"
        )


if __name__ == "__main__":
    main()
