"""Frames augmented per second on the CPU: Marey against Pillow, the same draws, in one run.

python benchmarks/augment.py --frames 80 --size 224 --repeats 7
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from marey.augment import augment, draw
from marey.config import AugmentConfig

sys.path.insert(0, str(Path(__file__).parent))

from baselines.pil_augment import augment_clip

HEIGHT, WIDTH = 256, 320


def run(frames: int = 80, size: int = 224, repeats: int = 7, views: int = 10) -> dict[str, Any]:
    """Medians over `repeats` of augmenting `views` clips of `frames` frames by random draws.

    Both ways take turns, so that whatever else the machine does meets both.
    """
    rng = np.random.default_rng(0)
    clip = _clip(rng, frames)
    tensor = torch.from_numpy(clip)
    draws = [draw(rng, AugmentConfig(), height=HEIGHT, width=WIDTH) for _ in range(views)]
    few = clip[: max(1, frames // 10)]  # Pillow's time per frame does not depend on their number
    threads = torch.get_num_threads()
    seconds: dict[str, list[float]] = {"marey": [], "marey_bf16": [], "pillow": []}
    for _ in range(repeats):
        start = time.perf_counter()
        for choice in draws:
            augment([tensor], [choice], size)
        seconds["marey"].append((time.perf_counter() - start) / (views * frames))
        start = time.perf_counter()
        for choice in draws:
            augment([tensor], [choice], size, torch.bfloat16)
        seconds["marey_bf16"].append((time.perf_counter() - start) / (views * frames))
        torch.set_num_threads(1)  # as in a data worker, where this way usually runs
        start = time.perf_counter()
        for choice in draws:
            augment_clip(few, choice, size)
        seconds["pillow"].append((time.perf_counter() - start) / (views * len(few)))
        torch.set_num_threads(threads)
    rates = {name: 1 / median(values) for name, values in seconds.items()}
    return {
        "frames": frames,
        "size": size,
        "threads": threads,
        "frames_per_second": rates,
        "ratio": rates["marey"] / rates["pillow"],
        "ratio_bf16": rates["marey_bf16"] / rates["pillow"],
    }


def _clip(rng: np.random.Generator, frames: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Coloured waves that move, and noise: (T, H, W, 3) uint8."""
    t, y, x, c = np.ogrid[:frames, :HEIGHT, :WIDTH, :3]
    waves = np.sin(0.05 * x + 0.2 * t + 2 * c) + np.cos(0.08 * y - 0.1 * t + c)
    noise = rng.normal(0, 8, (frames, HEIGHT, WIDTH, 3))
    return np.clip(128 + 60 * waves + noise, 0, 255).astype(np.uint8)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    result = run(args.frames, args.size, args.repeats)
    for name, rate in result["frames_per_second"].items():
        print(f"{name:12s} {rate:8.0f} frames/s")
    print(f"ratio {result['ratio']:.1f}, to bf16 {result['ratio_bf16']:.1f}", end="; ")
    print(f"{result['threads']} threads, {args.frames} frames of {HEIGHT}x{WIDTH} to {args.size}")


if __name__ == "__main__":
    main()
