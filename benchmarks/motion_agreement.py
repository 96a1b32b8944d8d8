"""Motion maps from cheap flow against those from TV-L1: agreement, and bytes on disk.

    python benchmarks/motion_agreement.py videos --count 12 --frames 100

Needs opencv-contrib-python-headless, which does not live beside opencv-python-headless: give it an
environment of its own, with av and scipy, and `PYTHONPATH=src`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.stats import spearmanr

from marey.flow import flow
from marey.motion import MotionMaps, motion_maps
from marey.types import Frames
from marey.video import probe, read

sys.path.insert(0, str(Path(__file__).parent))

from baselines.tvl1_flow import tvl1_flow, tvl1_maps

ENGINES = ("dis", "farneback", "difference")


def run(videos: Path, count: int = 12, frames: int = 100, seed: int = 0) -> dict[str, Any]:
    """One row per engine, over the first `frames` frames of `count` videos.

    Spearman's rho with TV-L1 of all cells of the 7x7 frame maps and of all clip scores: `pooled`
    over the videos, and `mean` of each video's own.
    """
    cv2.setNumThreads(1)
    files = sorted(videos.rglob("*.mp4"))
    chosen = np.random.default_rng(seed).permutation(len(files))
    samples = []
    for i in chosen:
        info = probe(files[i])
        if info.frames >= 40:  # so that there are clips to rank
            samples.append(_measure(read(files[i], np.arange(min(frames, info.frames)))))
        if len(samples) == count:
            break
    rows = {engine: _row(engine, samples) for engine in ENGINES}
    return {"videos": len(samples), "frames": frames, "engines": rows}


def _measure(clip: Frames) -> dict[str, Any]:
    """Of one video: the reference's maps and scores, and each engine's."""
    maps = {engine: motion_maps(flow([clip], engine)) for engine in ENGINES}
    return {"tvl1": tvl1_maps(tvl1_flow(clip.pixels)), **maps}


def _row(engine: str, samples: list[dict[str, Any]]) -> dict[str, float]:
    cells, scores, bytes_a_frame = [], [], []
    for sample in samples:
        maps: MotionMaps = sample[engine]
        reference_maps, reference_scores = sample["tvl1"]
        cells.append((reference_maps.ravel(), maps.maps[:-1].astype(np.float64).ravel()))
        scores.append((reference_scores, maps.scores[: len(reference_scores)]))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "maps.npz"
            maps.save(path)
            bytes_a_frame.append(path.stat().st_size / maps.frames)
    return {
        "maps_pooled": _rho(*map(np.concatenate, zip(*cells, strict=True))),
        "maps_mean": float(np.mean([_rho(*pair) for pair in cells])),
        "scores_pooled": _rho(*map(np.concatenate, zip(*scores, strict=True))),
        "scores_mean": float(np.mean([_rho(*pair) for pair in scores])),
        "megabytes_a_minute": float(np.mean(bytes_a_frame)) * 25 * 60 / 1e6,
    }


def _rho(a: Any, b: Any) -> float:
    return float(spearmanr(a, b).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("videos", type=Path, help="folder of .mp4 files")
    parser.add_argument("--count", type=int, default=12, help="videos")
    parser.add_argument("--frames", type=int, default=100, help="of each video, at most")
    parser.add_argument("--seed", type=int, default=0, help="which videos")
    print(json.dumps(run(**vars(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
