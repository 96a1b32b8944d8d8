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

# mallopt's names for them, from malloc.h
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_KEPT = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
_RETURNED = {_MMAP_MAX: 65536, _TRIM_THRESHOLD: 128 * 1024}  # what glibc starts with


@cache
def keep() -> bool:
    """From now on the process keeps what it frees, up to its peak; whether the system lets it.

    Only glibc does, on Linux. What is kept is used again, so the peak itself does not grow.
    """
    return _set(_KEPT)


@contextmanager
def returned() -> Iterator[None]:
    """For a while as the C library does it by itself: to measure what others get."""
    _set(_RETURNED)
    try:
        yield
    finally:
        if keep.cache_info().currsize:
            _set(_KEPT)


def _set(options: dict[int, int]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, value) for name, value in options.items())
