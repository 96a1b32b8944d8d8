"""The nearest rows as they are usually found: every similarity, and all of them sorted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def argsort_search(
    archive: NDArray[np.floating[Any]], query: NDArray[np.floating[Any]], count: int = 10
) -> NDArray[np.int64]:
    """(count,) numbers of the rows of an archive (N, D) most like a query (D,), best first."""
    return np.argsort(-(archive @ query))[:count]
