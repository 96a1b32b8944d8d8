"""Writes TFRecords of SequenceExamples as TensorFlow does, plainly: the twin of the reader."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

Value = Sequence[bytes] | Sequence[int] | Sequence[float]


def crc32c(data: bytes) -> int:
    """CRC-32C bit by bit, as its definition says."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def framed(data: bytes) -> bytes:
    """A record."""
    length = struct.pack("<Q", len(data))
    return length + _mask(length) + data + _mask(data)


def sequence(context: Mapping[str, Value], steps: Mapping[str, Sequence[Value]]) -> bytes:
    """A SequenceExample."""
    lists = {
        name: b"".join(field(1, feature(value)) for value in values)
        for name, values in steps.items()
    }
    features = b"".join(entry(name, feature(value)) for name, value in context.items())
    return field(1, features) + field(2, b"".join(entry(*item) for item in lists.items()))


def entry(name: str, value: bytes) -> bytes:
    return field(1, field(1, name.encode()) + field(2, value))


def feature(value: Value) -> bytes:
    if value and isinstance(value[0], bytes):
        return field(1, b"".join(field(1, one) for one in value))  # type: ignore[arg-type]
    if value and isinstance(value[0], float):
        return field(2, field(1, struct.pack(f"<{len(value)}f", *value)))
    return field(3, field(1, b"".join(varint(one) for one in value)))  # type: ignore[arg-type]


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    value %= 1 << 64
    data = b""
    while value > 127:
        data += bytes([value & 127 | 128])
        value >>= 7
    return data + bytes([value])


def _mask(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
