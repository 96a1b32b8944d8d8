"""What commands share: the device they run on, and how they answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Literal

Device = Literal["auto", "cpu", "cuda", "mps"]


def list_left_out(left_out: Iterable[tuple[str, str]], what: str = "videos were left out") -> None:
    rows = [f"  {name}: {reason}" for name, reason in left_out]
    if rows:
        print(f"{len(rows)} {what}:", *rows, sep="\n", file=sys.stderr)


def say(text: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # of the processes of torchrun, one speaks
        print(text)
