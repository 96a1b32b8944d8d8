"""Learn what moves in a folder of videos, and find clips that move like those of one of them.

python examples/retrieve_clips.py videos/ videos/a.mp4
"""

import sys
from pathlib import Path

import numpy as np

import marey


def main(videos: str, query: str) -> None:
    run = marey.train(videos, out="clips", recipe="mcl", show=True).run
    model = marey.Model(run)
    asked = model.embed(query)
    others = [e for e in marey.Manifest.of(videos) if e.path.resolve() != Path(query).resolve()]
    corpus = [model.embed(entry.path, entry.name) for entry in others]
    places = [(one.video, start) for one in corpus for start in one.start_seconds]
    vectors = np.concatenate([one.vectors for one in corpus])
    for start, vector in zip(asked.start_seconds, asked.vectors, strict=True):
        similarity = vectors @ vector
        print(f"{query} from {start:.2f} s on moves like")
        for best in similarity.argsort()[::-1][:3]:
            name, at = places[best]
            print(f"  {similarity[best]:.3f}  {name} from {at:.2f} s on")


if __name__ == "__main__":
    main(*sys.argv[1:])
