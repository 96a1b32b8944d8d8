"""The table of a bench of speed: its rows, and under which conditions they were measured."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from marey.bench.cells import facts
from marey.bench.speed_cases import Row
from marey.files import replacing, write_json

HEAD = ("what", "marey", "beside it", "", "ratio", "reach", "")


@dataclass(frozen=True)
class Speeds:
    """What a bench of speed found; `facts` are commit, versions, hardware and load."""

    rows: tuple[Row, ...]
    facts: Mapping[str, str]
    command: str

    def lines(self, stage: str) -> list[tuple[str, ...]]:
        """The rows of a stage as text, under `HEAD`."""
        return [
            (
                row.what,
                _number(row.ours, row.unit),
                row.other,
                _number(row.theirs, row.unit),
                "" if math.isnan(row.ratio) else f"{row.ratio:.3g}",
                _reach(row),
                row.note,
            )
            for row in self.rows
            if row.stage == stage
        ]

    @property
    def stages(self) -> list[str]:
        return list(dict.fromkeys(row.stage for row in self.rows))

    def show(self, console: Console) -> None:
        for stage in self.stages:
            table = Table(*HEAD, title=stage, title_justify="left")
            for line in self.lines(stage):
                table.add_row(*line)
            console.print(table)

    def markdown(self) -> str:
        """The tables and how they came about."""
        parts = [f"```sh\n{self.command}\n```\n"]
        for stage in self.stages:
            rows = [HEAD, ("---", "---:", "---", "---:", "---:", "---", "---"), *self.lines(stage)]
            table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
            parts.append(f"### {stage.capitalize()}\n\n{table}\n")
        about = "; ".join(f"{name}: {value}" for name, value in self.facts.items())
        parts.append(f"{about}.\n")
        return "\n".join(parts)

    def data(self) -> dict[str, Any]:
        """The same as JSON."""
        rows = [{**vars(row), "ratio": row.ratio, "reached": row.reached} for row in self.rows]
        plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
        return {"command": self.command, "facts": dict(self.facts), "rows": plain}

    def write(self, folder: Path) -> None:
        """Writes speed.md and speed.json. Raises StorageError."""
        write_json(folder / "speed.json", self.data())
        with replacing(folder / "speed.md") as draft:
            draft.write_text(self.markdown(), encoding="utf-8")


def conditions(device_name: str) -> dict[str, str]:
    """Commit, versions, hardware, and what else the machine is doing."""
    found = facts(device_name) | {"processor": _processor()}
    if hasattr(os, "getloadavg"):
        found["load average"] = f"{os.getloadavg()[0]:.1f}"
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _number(value: float, unit: str) -> str:
    if math.isnan(value):
        return ""
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{digits}f} {unit}"


def _reach(row: Row) -> str:
    asked = [] if row.reach is None else [f"{row.reach:g} times"]
    if row.limit is not None:
        asked.append(_number(row.limit, row.unit))
    if not asked:
        return ""
    return f"{', '.join(asked)}: {'reached' if row.reached else '**not reached**'}"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value  # JSON has no nan
