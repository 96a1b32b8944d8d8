"""Does motion-focused sampling do what it says? Share of true motion inside what it chooses.

    python benchmarks/motion_focus.py videos --count 40 --span 16

True motion is the boundaries of TV-L1 flow at the file's size, which the sampling never sees: that
goes by Farneback flow of a small picture. Needs opencv-contrib-python-headless, which does not live
beside opencv-python-headless: give it an environment of its own, with av, and `PYTHONPATH=src`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from marey.motion import MotionSettings, boundaries, video_motion
from marey.tubelets import choose_box, choose_clips, clip_index
from marey.video import probe, read

sys.path.insert(0, str(Path(__file__).parent))

from baselines.tvl1_flow import tvl1_flow

BORDER = 2  # pixels at the edge whose flow is unsure
Array = np.ndarray[Any, Any]


def measure(path: Path, span: int, draws: int, rng: np.random.Generator) -> dict[str, list[float]]:
    """Shares of one video: of its motion in windows, of a clip's motion in crops; and areas."""
    info = probe(path)
    length, stride = span // 2, 2
    maps = video_motion(path, MotionSettings(clip=span))
    truth = boundaries(tvl1_flow(read(path, np.arange(info.frames)).pixels)).mean(1)
    truth[:, :BORDER] = truth[:, -BORDER:] = truth[..., :BORDER] = truth[..., -BORDER:] = 0
    found: dict[str, list[float]] = {}
    for kind, focus in (("uniform", 0.0), ("focused", 0.7), ("always focused", 1.0)):
        for _ in range(draws):
            clips = choose_clips(rng, maps.scores, span=span, focus=focus)
            for start in (clips.query, *clips.keys):
                inside = truth[start : start + span].sum() / truth.sum()
                found.setdefault(f"window, {kind}", []).append(inside)
    for kind in ("uniform", "focused"):
        for _ in range(draws):
            start = int(rng.integers(max(info.frames - span + 1, 1)))
            index = clip_index(start, info.frames, length=length, stride=stride)
            here = maps.clip_map(index) * (kind == "focused")  # a map of zeros asks for nothing
            box = choose_box(rng, here, height=info.height, width=info.width)
            top, left, tall, wide = box
            clip = truth[start : start + span].sum(0)
            h, w = clip.shape
            rows = slice(round(top * h), round((top + tall) * h))
            columns = slice(round(left * w), round((left + wide) * w))
            found.setdefault(f"crop, {kind}", []).append(clip[rows, columns].sum() / clip.sum())
            found.setdefault(f"area of crop, {kind}", []).append(tall * wide)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("videos", type=Path, help="folder of .mp4 files")
    parser.add_argument("--count", type=int, default=40, help="videos")
    parser.add_argument("--span", type=int, default=16, help="frames that a clip covers")
    parser.add_argument("--draws", type=int, default=40, help="of each video")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(given.seed)
    files = sorted(given.videos.rglob("*.mp4"))
    chosen = [f for f in rng.permutation(np.array(files)) if probe(f).frames >= 2 * given.span]
    per_video: dict[str, list[float]] = {}
    for path in chosen[: given.count]:
        for name, values in measure(path, given.span, given.draws, rng).items():
            per_video.setdefault(name, []).append(float(np.mean(values)))
    print(f"{len(chosen[: given.count])} videos, {given.draws} draws each, span {given.span}\n")
    print("| share | mean over videos | spread (standard error) |\n| --- | ---: | ---: |")
    for name, values in per_video.items():
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        print(f"| {name} | {np.mean(values):.3f} | {error:.3f} |")


if __name__ == "__main__":
    main()
