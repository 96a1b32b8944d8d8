"""Pickles of records: read as data, never as programs."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marey.datasets.unpickling import load
from marey.errors import ManifestError

RECORDS = [{"id": 0, "name": "0001_bowl", "seq_len": 4, "ok": True, "rate": 2.5, "none": None}]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_records_arrays_and_tensors_are_read(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    arrays = [
        np.array([0, 0, 1, 2]),
        np.array([], np.float32),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([1, 2], ">i2"),
        np.array([True, False]),
    ]
    tensors = [torch.tensor([0, 1, 1]), -torch.ones(3), torch.arange(12).reshape(3, 4)[1:]]
    scalars = {"a": np.float64(2.5), "b": np.int64(-3)}
    path.write_bytes(pickle.dumps((RECORDS, arrays, tensors, scalars, b"x"), protocol))
    records, back, numbers, single, text = load(path)
    assert (records, single, text) == (RECORDS, {"a": 2.5, "b": -3}, b"x")
    for want, got in zip([*arrays, *(t.numpy() for t in tensors)], [*back, *numbers], strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


class Calls:
    """Becomes a call of `what` when it is unpickled."""

    def __init__(self, what: Callable[..., Any], *arguments: Any) -> None:
        self.what, self.arguments = what, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.what, self.arguments


class Plain:
    pass


@pytest.mark.parametrize("what", [os.mkdir, eval, getattr, np.load, torch.load, pickle.loads])
def test_what_calls_a_function_is_refused_and_not_called(
    tmp_path: Path, what: Callable[..., Any]
) -> None:
    path, made = tmp_path / "a.pkl", tmp_path / "made"
    argument = f"__import__('os').mkdir({str(made)!r})" if what is eval else str(made)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps([{"name": Calls(what, argument)}], protocol))
        with pytest.raises(ManifestError, match=r"a\.pkl is not a pickle of plain .*executed") as e:
            load(path)
        assert "\n" not in str(e.value)
    assert not made.exists()


def test_a_program_inside_a_tensor_is_refused_as_well(tmp_path: Path) -> None:
    path, made = tmp_path / "a.pkl", tmp_path / "made"
    inner = pickle.dumps(Calls(os.mkdir, str(made)))
    path.write_bytes(pickle.dumps(Calls(torch.storage._load_from_bytes, inner)))
    with pytest.raises(ManifestError, match="mkdir"):
        load(path)
    assert not made.exists()


@pytest.mark.parametrize(
    "data",
    [
        Plain(),
        {1, 2},
        np.array([{}, None], object),
        np.zeros(2, "M8[s]"),
        np.zeros(2, [("x", "i4")]),
        1j,
        len,
        torch.arange(6).reshape(2, 3).T,
        Calls(np.dtype, "i4"),
    ],
)
def test_what_is_no_plain_record_is_refused(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"x": data}))
    with pytest.raises(ManifestError, match="not a pickle of plain records"):
        load(path)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    whole = pickle.dumps([{"x": np.arange(9), "t": torch.arange(3)}])
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(ManifestError):
            load(path)
    with pytest.raises(ManifestError, match="cannot be read"):
        load(tmp_path / "nowhere.pkl")
    for byte in range(len(whole)):
        path.write_bytes(whole[:byte] + b"\xff" + whole[byte + 1 :])
        with suppress(ManifestError):
            load(path)
