"""Pickles of plain data, read without executing anything in them.

A pickle is a little program that may call any function it names. Here the names that records of
numbers need lead to stand-ins that only keep what they are given, and every other name ends the
reading: dicts, lists, text and numbers pass, and arrays of NumPy and tensors of PyTorch come out as
NumPy arrays that this module makes itself, of bytes whose type and size it has checked.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.errors import ManifestError

_DTYPES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
_STORAGES = {
    "BoolStorage": "<b1",
    "ByteStorage": "<u1",
    "CharStorage": "<i1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
}
# what Python raises where the program of a pickle makes no sense
_BROKEN = (
    pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError,
    OverflowError, MemoryError, RecursionError, ImportError,
)  # fmt: skip


def load(path: Path) -> Any:
    """The data of a pickle, arrays as NumPy arrays. Executes nothing.

    Raises ManifestError for a file that cannot be read, or that is not records of numbers.
    """
    try:
        with path.open("rb") as file:
            return _plain(_Reader(file).load())
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}); check it.") from error
    except _BROKEN as error:
        raise ManifestError(
            f"{path} is not a pickle of plain records ({error}), and nothing in it was executed; "
            "download it again from where its authors keep it."
        ) from error


class _Dtype:
    """Stands for a NumPy dtype."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        if self.code not in _DTYPES or self.order not in ("<", ">", "|"):
            raise ValueError(f"it holds an array of {self.code!r}")
        return np.dtype(self.order + self.code)


class _Array:
    """Stands for a NumPy array."""

    def __init__(self) -> None:
        self.parts: tuple[tuple[int, ...], _Dtype, bool, bytes] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.parts = shape, dtype, fortran, data

    def array(self) -> NDArray[Any]:
        if self.parts is None:
            raise ValueError("it holds an array without values")
        shape, dtype, fortran, data = self.parts
        values = np.frombuffer(data, dtype.dtype())
        return values.reshape(shape, order="F" if fortran else "C")


# Functions, not classes: a pickle may set attributes of what it names, and those of a class would
# be there for all that are read later.


def _ordered(*_: Any) -> dict[Any, Any]:
    return {}


def _encode(text: str, coding: str) -> bytes:
    return text.encode(coding)


def _bytes(*_: Any) -> bytes:
    return b""


def _dtype(code: str, *_: Any) -> _Dtype:
    return _Dtype(code)


def _array(*_: Any) -> _Array:
    return _Array()


def _from_buffer(data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: _Dtype, data: bytes) -> Any:
    return np.frombuffer(data, dtype.dtype())[0].item()


def _storage(data: bytes) -> NDArray[Any]:
    """The values of a tensor as PyTorch puts them into a pickle: a file in its old format.

    That is five pickles (a number to know it by, a version, the machine, what is stored, under
    which keys), the count of the values (8 bytes), and the values.
    """
    file = io.BytesIO(data)
    stored = [_Reader(file).load() for _ in range(5)][3]
    count = int.from_bytes(file.read(8), "little")
    return np.frombuffer(file.read(), stored, count)


def _tensor(
    storage: NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> NDArray[Any]:
    """A tensor whose values lie one behind the other."""
    steps = tuple(math.prod(size[i + 1 :]) for i in range(len(size)))
    if stride != steps or offset < 0:
        raise ValueError("it holds a tensor that is a view of another")
    return storage[offset : offset + math.prod(size)].reshape(size)


# protocol 2 needs `encode` for all bytes and `bytes` for none
_ADMITTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _bytes,
    ("numpy", "ndarray"): _array,
    ("numpy", "dtype"): _dtype,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _storage,
    **{("torch", name): code for name, code in _STORAGES.items()},
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")  # before and since NumPy 2
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ADMITTED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Of a storage of PyTorch, its type."""
        kind, code, *_ = pid
        if kind != "storage" or code not in _STORAGES.values():
            raise pickle.UnpicklingError("it holds what is no tensor")
        return code


def _plain(data: Any) -> Any:
    """The same with arrays in place of what stands for them. Raises ValueError for what is not."""
    if isinstance(data, dict):
        return {_plain(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(_plain(value) for value in data)
    if isinstance(data, _Array):
        return data.array()
    if data is None or isinstance(data, str | bytes | bool | int | float | np.ndarray):
        return data
    raise ValueError(f"it holds a {type(data).__name__}")
