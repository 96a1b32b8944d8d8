"""How much memory a piece of work takes at its peak, and how long, in a process of its own."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marey.errors import TrainingError

_STATUS = Path("/proc/self/status")


def peak(prepare: str, **settings: Any) -> tuple[float, float]:
    """Megabytes that a piece of work adds at its peak to what was there before, and its seconds.

    In a fresh process, as a peak never falls, and memory that was freed is used again unseen.

    prepare: "module:function", which is given the settings (JSON) and returns the work, a function
        without arguments.

    The megabytes are nan where the system does not tell (it is not Linux). Raises TrainingError
    where the work fails.
    """
    path = os.pathsep.join(part for part in sys.path if part)
    done = subprocess.run(
        [sys.executable, "-m", __name__, prepare, json.dumps(settings)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TrainingError(f"The memory of {prepare} could not be measured: {reason}")
    megabytes, seconds = done.stdout.split()[-2:]
    return float(megabytes), float(seconds)


def _measured(work: Callable[[], object]) -> tuple[float, float]:
    before = _megabytes("VmRSS")
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    # not the resource module's number, which begins with that of the parent process
    return _megabytes("VmHWM") - before, seconds


def _megabytes(name: str) -> float:
    if not _STATUS.exists():
        return math.nan
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return int(lines[name].split()[0]) / 1000


def main() -> None:
    """Prints peak and seconds of the work that the arguments name."""
    prepare, settings = sys.argv[1:]
    module, name = prepare.split(":")
    work = getattr(importlib.import_module(module), name)(**json.loads(settings))
    print(*_measured(work))


if __name__ == "__main__":
    main()
