"""Several processes train one run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from marey import checkpoint
from marey.training import read_log


def launch(world: Path, run: Path, steps: int) -> str:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "marey", "train", "carl_tiny", str(world)]
    command += ["--split", "train", "--out", str(run), "--device", "cpu"]
    command += ["--data.steps", str(steps), "--data.videos", "2", "--data.copies", "1"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_two_processes_make_one_run(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    output = launch(world, run, 4)
    assert output.count("4 steps") == 1  # one of the two speaks
    assert [line["step"] for line in read_log(run)] == [0]
    model = checkpoint.load_tensors(run / "checkpoint" / "model.safetensors")
    assert all(torch.isfinite(t).all() for t in model.values() if t.is_floating_point())
    assert launch(world, run, 4).count("4 steps") == 1  # nothing left to do
    again = checkpoint.load_tensors(run / "checkpoint" / "model.safetensors")
    assert all(torch.equal(model[key], again[key]) for key in model)
