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
from typing import Any, NamedTuple

from marey.errors import TrainingError

_STATUS = Path("/proc/self/status")


class Peak(NamedTuple):
    """What a piece of work took.

    added: megabytes at its peak, beside what was there before.
    seconds: of time.
    whole: megabytes of the whole process at its peak, with Python, libraries and networks.
    """

    added: float
    seconds: float
    whole: float


def peak(prepare: str, **settings: Any) -> Peak:
    """How much memory and time a piece of work takes.

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
    return Peak(*map(float, done.stdout.split()[-3:]))


def _measured(work: Callable[[], object]) -> Peak:
    before = _megabytes("VmRSS")
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    # not the resource module's number, which begins with that of the parent process
    whole = _megabytes("VmHWM")
    return Peak(whole - before, seconds, whole)


def _megabytes(name: str) -> float:
    if not _STATUS.exists():
        return math.nan
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return int(lines[name].split()[0]) / 1000


def main() -> None:
    """Prints the `Peak` of the work that the arguments name."""
    prepare, settings = sys.argv[1:]
    module, name = prepare.split(":")
    work = getattr(importlib.import_module(module), name)(**json.loads(settings))
    print(*_measured(work))


if __name__ == "__main__":
    main()
