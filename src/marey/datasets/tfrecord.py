"""TFRecord files without TensorFlow: the records, their checksums, and the examples in them.

A file is a row of records: length (8 bytes), its checksum (4), data, their checksum (4); numbers
are little-endian, checksums are masked CRC-32C. The data are a protocol buffer of the message
`tf.train.Example` or `tf.train.SequenceExample`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marey.errors import ManifestError

Value = list[bytes] | list[int] | list[float]

_CHUNK = 1 << 20
_POLYNOMIAL = 0x82F63B78  # Castagnoli, bits reversed


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a file: where it begins, in bytes, and its data; None = they are damaged."""

    offset: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Example:
    """An example: features of the whole, and lists of features, one for each step."""

    context: dict[str, Value]
    steps: dict[str, list[Value]]


def records(path: Path, offset: int = 0) -> Iterator[Record]:
    """The records of a file from one on, a single one in memory at a time.

    Raises ManifestError where the file cannot be read, ends inside a record, or is damaged where
    a record begins, so that the next cannot be found.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(offset)
            while head := file.read(12):
                if len(head) == 12 and _masked(head[:8]) != int.from_bytes(head[8:], "little"):
                    raise ManifestError(
                        f"{path} is damaged, or no TFRecord file, at byte {offset}; "
                        "download it again."
                    )
                length = int.from_bytes(head[:8], "little")
                end = offset + 12 + length + 4
                if len(head) < 12 or end > size:
                    raise ManifestError(
                        f"{path} is cut off inside the record at byte {offset}; download it again."
                    )
                data, checksum = file.read(length), file.read(4)
                whole = _masked(data) == int.from_bytes(checksum, "little")
                yield Record(offset, data if whole else None)
                offset = end
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({error.strerror}); check it.") from error


def parse(data: bytes) -> Example:
    """An `Example` or a `SequenceExample`. Raises ValueError for anything else."""
    context: dict[str, Value] = {}
    steps: dict[str, list[Value]] = {}
    for number, message in _messages(memoryview(data)):
        for _, entry in _messages(message):
            name, value = _entry(entry)
            if number == 1:
                context[name] = _feature(value)
            elif number == 2:
                steps[name] = [_feature(feature) for _, feature in _messages(value)]
    return Example(context, steps)


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of the data.

    The register is linear in what it has read, so that the registers of two neighbours make the
    one of both: that of the left, moved on by the length of the right, plus that of the right.
    Here all bytes begin on their own and are paired until one register is left.
    """
    state = 0xFFFFFFFF
    for first in range(0, len(data), _CHUNK):
        chunk = np.frombuffer(data, np.uint8, min(_CHUNK, len(data) - first), first)
        level, registers = 0, _skip(0)[0][chunk]
        while len(registers) > 1:
            if len(registers) % 2:  # nothing read leaves an empty register as it is
                registers = np.concatenate([np.zeros(1, np.uint32), registers])
            registers = _advance(registers[::2], level) ^ registers[1::2]
            level += 1
        for bit in range(len(chunk).bit_length()):
            if len(chunk) >> bit & 1:
                state = int(_advance(np.array([state], np.uint32), bit)[0])
        state ^= int(registers[0])
    return state ^ 0xFFFFFFFF


def _masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _skip(level: int) -> NDArray[np.uint32]:
    """(4, 256): what each byte of a register becomes when 2 ** level zero bytes are read."""
    if level:
        return _advance(_skip(level - 1), level - 1)
    table: NDArray[np.uint32] = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = table >> np.uint32(1) ^ (table & np.uint32(1)) * np.uint32(_POLYNOMIAL)
    higher = [np.arange(256, dtype=np.uint32) << shift for shift in (0, 8, 16)]
    return np.stack([table, *higher])


def _advance(registers: NDArray[np.uint32], level: int) -> NDArray[np.uint32]:
    """Registers after reading 2 ** level zero bytes."""
    a, b, c, d = _skip(level)
    low, high = registers & 0xFFFF, registers >> 16
    moved: NDArray[np.uint32] = a[low & 255] ^ b[low >> 8] ^ c[high & 255] ^ d[high >> 8]
    return moved


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and contents of a message's fields. Raises ValueError where it is not one."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"a field of the unknown kind {kind}")
        length = {1: 8, 5: 4}.get(kind, 0)
        if kind == 2:
            length, place = _varint(data, place)
        if place + length > len(data):
            raise ValueError("a field ends behind its message")
        yield key >> 3, data[place : place + length]
        place += length


def _messages(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that has none but messages."""
    for number, value in _fields(data):
        if isinstance(value, int):
            raise ValueError(f"a number in field {number}, where a message belongs")
        yield number, value


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, and the place behind it."""
    value = 0
    for shift in range(0, 64, 7):
        if place >= len(data):
            break
        byte = data[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value, place
    raise ValueError("a number without end")


def _entry(data: memoryview) -> tuple[str, memoryview]:
    """An entry of a map: its key, and its value."""
    parts = dict(_messages(data))
    return bytes(parts.get(1, b"")).decode(), parts.get(2, memoryview(b""))


def _feature(data: memoryview) -> Value:
    """The values of a `tf.train.Feature`."""
    for number, values in _messages(data):
        if number == 1:
            return [bytes(value) for _, value in _messages(values)]
        if number == 2:  # packed or one by one, floats are 4 bytes each
            joined = b"".join(bytes(value) for _, value in _messages(values))
            return [value for (value,) in struct.iter_unpack("<f", joined)]
        if number == 3:
            return list(_integers(values))
    return list[int]()


def _integers(data: memoryview) -> Iterator[int]:
    for _, value in _fields(data):
        numbers = [value] if isinstance(value, int) else []
        place = 0
        while isinstance(value, memoryview) and place < len(value):
            number, place = _varint(value, place)
            numbers.append(number)
        for number in numbers:
            yield number - (number >> 63 << 64)  # two's complement, so that -1 has 64 bits
