"""Labels of frames in the forms of a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marey.datasets import labels
from marey.errors import ManifestError
from marey.manifest import Entry


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=30))
def test_spans_are_read_back(numbers: list[int]) -> None:
    entry = Entry("a", Path("a"), extra={labels.COLUMN: labels.spans(np.array(numbers))})
    assert labels.elements(entry, len(numbers)).tolist() == numbers
    with pytest.raises(ManifestError, match="no column elements"):
        labels.elements(Entry("a", Path("a")), 3)


@pytest.mark.parametrize("text", ["0-3:1", "2-1:1", "1:1", "0-1:x"])
def test_spans_that_are_none(text: str) -> None:
    with pytest.raises(ManifestError, match=text):
        labels.elements(Entry("a", Path("a"), extra={"elements": text}), 3)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_boundaries_are_where_phases_start(lengths: list[int]) -> None:
    phases = np.repeat(np.arange(len(lengths)), lengths)
    starts = labels.boundaries(phases)
    entry = Entry("a", Path("a"), boundaries=starts)
    assert entry.phases(len(phases)).tolist() == phases.tolist()
    assert labels.boundaries(phases + 1) is None
    assert labels.boundaries(np.append(phases, phases[-1] + 2)) is None
    if len(lengths) > 1:
        assert labels.boundaries(phases[::-1]) is None


@given(st.integers(1, 20), st.integers(1, 20))
def test_stretched_labels_keep_their_order_and_both_ends(length: int, frames: int) -> None:
    stretched = labels.stretch(np.arange(length), frames)
    assert stretched.tolist() == [i * length // frames for i in range(frames)]
    assert stretched[0] == 0
    assert frames < length or stretched[-1] == length - 1
