"""Learn a folder of videos without labels, and lay one of them over another.

python examples/align_two.py videos/ videos/a.mp4 videos/b.mp4
"""

import sys
from pathlib import Path

import marey


def main(videos: str, query: str, reference: str) -> None:
    run = marey.train(videos, out="run", show=True).run
    pair = marey.align(run, query, reference)
    print(f"alignability {pair.alignability:.2f}, they belong together: {pair.belongs}")
    for here, there in pair.seconds().T[::10]:
        print(f"{here:6.2f} s of {query} is {there:6.2f} s of {reference}")
    pair.write(Path("pair.mp4"))


if __name__ == "__main__":
    main(*sys.argv[1:])
