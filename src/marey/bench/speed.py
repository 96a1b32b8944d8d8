"""How fast this machine goes from file to answer, stage by stage."""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from marey import device
from marey.bench import speed_answers, speed_pictures, speed_training
from marey.bench.speed_cases import Case, Desk, Measured, Row, measure
from marey.bench.speed_table import Speeds, conditions
from marey.errors import ConfigError, MareyError
from marey.progress import console

Stage = Callable[[Desk], Measured]

STAGES: dict[str, Stage] = {
    "decode": speed_pictures.decode,
    "motion": speed_pictures.motion,
    "augmentation": speed_pictures.augmentation,
    "backbone": speed_pictures.backbone,
    "embedding": speed_training.embedding,
    "training": speed_training.training,
    "alignment": speed_answers.alignment,
    "search": speed_answers.search,
    "startup": speed_answers.startup,
}


def bench_speed(
    out: str | Path,
    *,
    only: Sequence[str] = (),
    quick: bool = False,
    device_name: str = "auto",
    show: bool = False,
) -> Speeds:
    """Measures every stage on this machine, on rendered videos, and writes one table.

    What stands beside Marey's numbers is measured in the same run, in turns: other settings, the
    usual way where PyTorch itself is that, and floors that no program of this kind can beat, such
    as the decoder alone. The usual ways of whole programs are in the repository's `benchmarks/`.

    Args:
        out: folder for speed.md and speed.json; the videos are deleted.
        only: names of `STAGES`, all of them by default.
        quick: small and few, to see whether everything works; the numbers say little.

    Raises ConfigError for a stage or device that does not exist, StorageError.
    """
    unknown = sorted(set(only) - set(STAGES))
    if unknown:
        raise ConfigError(f"There is no stage {unknown[0]!r}; there are {', '.join(STAGES)}.")
    chosen = {name: stage for name, stage in STAGES.items() if not only or name in only}
    command = ["marey", "bench", "speed", "--out", str(out)]
    command += ["--only", *only] if only else []
    command += ["--quick"] if quick else []
    return run(chosen, Path(out), shlex.join(command), quick, device_name, show)


def run(
    stages: Mapping[str, Stage],
    out: Path,
    command: str,
    quick: bool = False,
    device_name: str = "auto",
    show: bool = False,
) -> Speeds:
    """Measures stages in turn, and writes what there is after every case.

    A stage that fails has a row that says why, and the others go on.
    """
    where, about = device.pick(device_name), conditions(device_name)
    rows: list[Row] = []
    started, worked = time.perf_counter(), time.process_time()

    def so_far() -> Speeds:
        # far below the number of threads where others have the processor
        used = (time.process_time() - worked) / (time.perf_counter() - started)
        return Speeds(tuple(rows), about | {"cores had on average": f"{used:.2f}"}, command)

    with tempfile.TemporaryDirectory(prefix="marey-speed-") as folder, _cache_in(folder):
        desk = Desk(Path(folder), where, quick)
        for name, stage in stages.items():
            try:
                for one in stage(desk):
                    if show:
                        console.print(f"{name}: {one.what}", markup=False, highlight=False)
                    rows += measure(one) if isinstance(one, Case) else [one]
                    so_far().write(out)
            except MareyError as error:
                rows.append(Row(name, "failed", "", note=str(error)))
            so_far().write(out)
    return so_far()


@contextmanager
def _cache_in(folder: str) -> Iterator[None]:
    """What the first run of a network takes is measured: nothing of earlier ones may be at hand."""
    before = os.environ.get("MAREY_CACHE")
    os.environ["MAREY_CACHE"] = folder
    try:
        yield
    finally:
        del os.environ["MAREY_CACHE"]
        if before is not None:
            os.environ["MAREY_CACHE"] = before
