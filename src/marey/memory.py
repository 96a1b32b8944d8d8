"""Freed memory that stays with the process.

The C library hands every large block back to the system when it is freed, and the system clears the
pages of the next one. A network allocates and frees some dozens of megabytes in every layer: on a
virtual machine that took longer than the layers themselves (`docs/log.md`).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from mmap import PAGESIZE
from pathlib import Path

import numpy as np

# mallopt's names for them, from malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEPT = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
# where glibc's own thresholds end up once large blocks have been freed
_RETURNED = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}

_PAGES = Path("/proc/self/statm")


@cache
def keep() -> bool:
    """From now on the process keeps what it frees, up to its peak; whether the system lets it.

    Only glibc does, on Linux. What is kept is used again, so the peak itself does not grow.
    """
    return _set(_KEPT)


@contextmanager
def returned() -> Iterator[None]:
    """For a while as the C library does it by itself: to measure what others get.

    What was kept is given back first, so that it matters not what ran before, and fetched again
    after, so that whoever keeps it does not pay for that.
    """
    kept = keep.cache_info().currsize and keep()
    before = _resident()
    if _set(_RETURNED):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        yield
    finally:
        if kept:
            _set(_KEPT)
            np.ones(max(before - _resident(), 0), np.uint8)


def _resident() -> int:
    """Bytes of memory that the process has; 0 where the system does not tell."""
    if not _PAGES.exists():
        return 0
    return int(_PAGES.read_text().split()[1]) * PAGESIZE


def _set(options: dict[int, int]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, value) for name, value in options.items())
