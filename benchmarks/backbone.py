"""Frames per second through a frozen backbone: the usual way against Marey's, in one run.

python benchmarks/backbone.py --frames 64 --repeats 5
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

from marey import device
from marey.models.backbone import build, freeze
from marey.models.trunk import Trunk

sys.path.insert(0, str(Path(__file__).parent))

from baselines.eager_backbone import eager_features

CASES = (("efficientnet_lite0", 112), ("efficientnet_lite0", 224), ("resnet50", 224))


def run(
    cases: tuple[tuple[str, int], ...] = CASES, frames: int = 64, repeats: int = 5
) -> dict[str, Any]:
    """For every backbone and size: medians of frames per second, ratios to the usual way, seconds
    of the first call (copying, compiling) and cosines of pooled features to float32.

    The ways take turns, so that whatever else the machine does meets all of them.
    """
    results = {f"{name} {size}": _case(name, size, frames, repeats) for name, size in cases}
    return {"frames": frames, "machine": device.describe(), "results": results}


def _case(name: str, size: int, frames: int, repeats: int) -> dict[str, Any]:
    torch.manual_seed(0)
    backbone = build(name, "package" if name == "efficientnet_lite0" else "random")
    freeze(backbone, "all")
    # smooth, as pictures are
    pixels = F.interpolate(torch.randn(frames, 3, size // 8, size // 8), size, mode="bicubic")
    last = len(backbone.stage_names) - 1
    eager = Trunk(backbone, (last,), compiled=False)
    compiled = Trunk(backbone, (last,), compiled=True)
    ways = {
        "usual": lambda: eager_features(backbone, pixels),
        "eager": lambda: eager(pixels)[last],
        "compiled": lambda: compiled(pixels)[last],
    }
    first, pooled = {}, {}
    for way, features in ways.items():
        start = time.perf_counter()
        pooled[way] = features().mean((2, 3))
        first[way] = time.perf_counter() - start
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, features in ways.items():
            start = time.perf_counter()
            features()
            seconds[way].append(time.perf_counter() - start)
    rates = {way: frames / median(values) for way, values in seconds.items()}
    return {
        "path": {"eager": eager.path, "compiled": compiled.path},
        "frames_per_second": rates,
        "ratio": {way: rate / rates["usual"] for way, rate in rates.items()},
        "first_call_seconds": first,
        "cosine": {
            way: F.cosine_similarity(pooled[way], pooled["usual"]).min().item() for way in ways
        },
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="1 on a busy machine"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for case in CASES:
        result = run((case,), args.frames, args.repeats)
        (values,) = result["results"].values()
        for way, rate in values["frames_per_second"].items():
            print(
                f"{case[0]:18s} {case[1]:4d} {way:9s} {rate:7.1f} frames/s",
                f"x{values['ratio'][way]:5.1f}",
                f"first call {values['first_call_seconds'][way]:5.1f} s",
                f"cosine {values['cosine'][way]:.5f}",
                values["path"].get(way, "eager, float32"),
                sep="  ",
                flush=True,
            )
    print("; ".join(f"{name}: {value}" for name, value in device.describe().items()))


if __name__ == "__main__":
    main()
