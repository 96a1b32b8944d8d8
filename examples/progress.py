"""How far has a running procedure come? Learned from labelled videos of one action.

    python examples/progress.py run labels.csv squat so_far.mp4

Progress is 0 at the first boundary and 1 at the last. What has been recorded so far is a video like
any other: ask again as it grows.
"""

import sys

import numpy as np
from sklearn.linear_model import Ridge

import marey


def main(run: str, labels: str, action: str, so_far: str) -> None:
    model = marey.Model(run)
    rows, progress = [], []
    for entry in marey.Manifest.read(labels).select(split="train", action=action):
        vectors = model.embed(entry.path).vectors
        shares = np.linspace(0, 1, len(entry.boundaries))
        rows.append(vectors)
        progress.append(np.interp(np.arange(len(vectors)), entry.boundaries, shares))
    probe = Ridge(alpha=0.1).fit(np.concatenate(rows), np.concatenate(progress))

    now = model.embed(so_far)
    for second, share in zip(now.start_seconds, probe.predict(now.vectors).clip(0, 1), strict=True):
        print(f"{second:6.2f} s  {share:4.0%}  {'#' * round(40 * share)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
