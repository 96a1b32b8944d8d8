"""Freed memory stays with the process where it is asked to."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_COUNT = """
import resource
import numpy as np
from marey import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.empty(8_000_000, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = memory.keep()
faults()
again = faults()
with memory.returned():
    returned = faults()
print(kept, again, returned, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to")
def test_what_is_kept_is_not_cleared_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True
    )
    kept, again, returned, after = done.stdout.split()
    assert kept == "True"
    assert int(again) < int(returned) / 4 > int(after)
