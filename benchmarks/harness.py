"""The command line that all benchmarks share: measure stages, print their tables, write them.

How things are measured, in turns and by medians, is `marey.bench.speed_cases`; what is added here
and in `baselines/` is the usual way, as the papers' released code does it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from marey.bench.speed import Stage, run


def main(description: str, stages: Mapping[str, Stage]) -> None:
    """Measures the stages that the command line asks for."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("speed"), help="for speed.md, speed.json")
    parser.add_argument("--quick", action="store_true", help="small and few: does it all work?")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    if len(stages) > 1:
        parser.add_argument("--only", nargs="+", choices=stages, default=list(stages))
    if "length" in stages:
        parser.add_argument("--hour", action="store_true", help="also a video of one hour")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # of the processes whose memory is measured
    chosen = {name: stages[name] for name in getattr(args, "only", stages)}
    if getattr(args, "hour", False) and "length" in chosen:
        chosen["length"] = partial(stages["length"], hour=True)
    command = shlex.join(["python", *sys.argv])
    done = run(chosen, args.out, command, quick=args.quick, show=True)
    done.show(Console(width=None if sys.stdout.isatty() else 160))
    print("; ".join(f"{name}: {value}" for name, value in done.facts.items()))
    print(args.out / "speed.md", args.out / "speed.json", sep="\n")
