"""Which videos are compared with which."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marey.errors import ConfigError
from marey.losses.pairs import same_action, squared_distances


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 2), st.sampled_from("abcdef")), max_size=8))
def test_pairs_are_all_different_videos_of_one_action(batch: list[tuple[int, str]]) -> None:
    # a video shows one action
    groups = {name: group for group, name in reversed(batch)}
    names = [name for _, name in batch]
    group = torch.tensor([groups[name] for name in names], dtype=torch.int64)
    want = {
        (i, j)
        for i in range(len(names))
        for j in range(len(names))
        if names[i] != names[j] and groups[names[i]] == groups[names[j]]
    }
    if not want:
        with pytest.raises(ConfigError, match=r"no two .*data\.together 2 or more"):
            same_action(group, names)
        return
    pairs = same_action(group, names)
    assert pairs.dtype == torch.int64
    assert len(pairs) == len(want)
    assert {tuple(pair) for pair in pairs.tolist()} == want


def test_videos_of_unknown_action_count_as_one_action() -> None:
    assert len(same_action(torch.full((4,), -1), list("abcd"))) == 12


def test_a_batch_without_pairs_names_its_videos() -> None:
    with pytest.raises(ConfigError, match=r"a\.mp4, b\.mp4"):
        same_action(torch.tensor([0, 1]), ["a.mp4", "b.mp4"])


def test_squared_distances_are_what_they_say() -> None:
    a = torch.randn(3, 5, 4, dtype=torch.float64)
    b = torch.randn(3, 7, 4, dtype=torch.float64)
    want = ((a[:, :, None] - b[:, None]) ** 2).sum(-1)
    torch.testing.assert_close(squared_distances(a, b), want)
    assert (squared_distances(a, a).diagonal(dim1=1, dim2=2) >= 0).all()
