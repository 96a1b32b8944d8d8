"""TFRecords: what is written is read back, and damage is told from data."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marey.datasets.tfrecord import crc32c, parse, records
from marey.errors import ManifestError
from tfrecords import crc32c as slow_crc32c
from tfrecords import field, framed, sequence

text = st.text(max_size=5)
whole = st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1, max_size=4)
parts = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4)
data = st.lists(st.binary(max_size=9), min_size=1, max_size=4)
value = st.one_of(whole, parts, data)


@given(st.binary(max_size=300))
def test_checksums_are_those_of_a_slow_loop(data: bytes) -> None:
    assert crc32c(data) == slow_crc32c(data)


def test_published_checksums() -> None:
    # RFC 3720, B.4
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


def test_long_data_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marey.datasets.tfrecord._CHUNK", 100)
    data = np.random.default_rng(0).bytes(1001)
    assert crc32c(data) == slow_crc32c(data)


@given(st.dictionaries(text, value), st.dictionaries(text, st.lists(value, max_size=3)))
def test_examples_are_read_back(context: dict[str, object], steps: dict[str, list[object]]) -> None:
    example = parse(sequence(context, steps))  # type: ignore[arg-type]
    assert (example.context, example.steps) == (context, steps)


def test_numbers_may_come_one_by_one() -> None:
    ints = field(3, b"\x08\x05\x08\x07")  # a field of a number has no length
    floats = field(2, b"".join(b"\x0d" + struct.pack("<f", x) for x in (0.5, 2.0)))
    for feature, want in ((ints, [5, 7]), (floats, [0.5, 2.0])):
        message = field(1, field(1, field(1, b"key") + field(2, feature)))
        assert parse(message).context == {"key": want}


@given(st.binary(max_size=40))
def test_other_bytes_are_an_example_or_an_error_and_never_a_crash(data: bytes) -> None:
    with suppress(ValueError):
        parse(data)


def write(path: Path, *data: bytes) -> bytes:
    written = b"".join(map(framed, data))
    path.write_bytes(written)
    return written


def test_records_in_order_and_from_one_on(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    write(path, b"one", b"", b"three" * 50)
    found = list(records(path))
    assert [record.data for record in found] == [b"one", b"", b"three" * 50]
    assert next(records(path, found[2].offset)) == found[2]
    path.write_bytes(b"")
    assert list(records(path)) == []


def test_damaged_data_are_told_and_what_follows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    whole = bytearray(write(path, b"one", b"two", b"three"))
    whole[whole.index(b"two")] ^= 1
    path.write_bytes(whole)
    assert [record.data for record in records(path)] == [b"one", None, b"three"]


@pytest.mark.parametrize("kept", [3, 11, 12, 14, 16, 18])
def test_a_file_that_was_cut_off(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.tfrecord"
    whole = write(path, b"one", b"two")
    first = len(framed(b"one"))
    path.write_bytes(whole[: first + kept])
    reader = records(path)
    assert next(reader).data == b"one"
    with pytest.raises(ManifestError, match=r"a\.tfrecord is cut off .* at byte 19; download"):
        next(reader)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(b"<html>not what was asked for</html>")
    with pytest.raises(ManifestError, match="damaged, or no TFRecord file"):
        list(records(path))
    with pytest.raises(ManifestError, match="cannot be read"):
        list(records(tmp_path / "nowhere"))
