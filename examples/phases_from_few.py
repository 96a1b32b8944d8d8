"""Tell the phase of every frame from three labelled videos of each action, beside a clock.

    python examples/phases_from_few.py run labels.csv

Scored are the videos of the table whose split is not `train`."""

import sys

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import marey

FEW = 3


def main(run: str, labels: str) -> None:
    model, corpus = marey.Model(run), marey.Manifest.read(labels)
    for action in corpus.actions():
        entries = corpus.select(action=action).entries
        few = [entry for entry in entries if entry.split == "train"][:FEW]
        others = [entry for entry in entries if entry.split != "train"]
        known, asked = ([model.embed(e.path).vectors for e in part] for part in (few, others))
        learned, truth = (
            np.concatenate([e.phases(len(x)) for e, x in zip(part, rows, strict=True)])
            for part, rows in ((few, known), (others, asked))
        )
        clocks = [[np.linspace(0, 1, len(x))[:, None] for x in part] for part in (known, asked)]
        for name, (learn, score) in {"embedding": (known, asked), "clock": clocks}.items():
            probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            probe.fit(np.concatenate(learn), learned)
            right = probe.score(np.concatenate(score), truth)
            print(f"{action}, {name}: {right:.3f} of the frames of {len(asked)} videos right")


if __name__ == "__main__":
    main(*sys.argv[1:])
