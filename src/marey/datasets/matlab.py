"""MATLAB files, as two of the sets keep their labels."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from marey.datasets.listing import foreign
from marey.errors import ManifestError


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file. Raises ManifestError for a file that is none."""
    try:
        variables: dict[str, Any] = loadmat(path)
    except FileNotFoundError as error:
        raise ManifestError(f"{path} is not there; download it again.") from error
    except (
        OSError, ValueError, TypeError, KeyError, IndexError, NotImplementedError, MatReadError,
        zlib.error, struct.error,
    ) as error:  # fmt: skip
        raise foreign(path, f"a MATLAB file that can be read ({error})") from error
    return variables
