"""Pieces packed apart and sent as one gzip stream (RFC 1952), or unpacked again. Pure."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

_LEVEL: Final = 6
_RAW: Final = -zlib.MAX_WBITS
_LAST_BLOCK: Final = b"\x03\x00"
_BITS: Final = 32

Matrix = list[int]
"""A linear map of a CRC: what each of its bits becomes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer as deflate blocks (RFC 1951), none of them the last.

    `crc` and `length` are of the part itself; `shift` is what its length does to the CRC of all
    that stands before it.
    """

    blocks: bytes
    crc: int
    length: int
    shift: Matrix

    @classmethod
    def of(cls, body: bytes) -> Piece:
        """Pack a part. Takes about 20 ms a MiB: for a thread."""
        pack = zlib.compressobj(_LEVEL, wbits=_RAW)
        # A full flush ends on a byte, and what follows refers to nothing before it.
        blocks = pack.compress(body) + pack.flush(zlib.Z_FULL_FLUSH)
        return cls(blocks, zlib.crc32(body), len(body), _shift(len(body)))

    def unpacked(self) -> bytes:
        """The part itself."""
        return zlib.decompressobj(_RAW).decompress(self.blocks)


class Gzip:
    """One gzip stream: `head`, what `add` gives for each piece, and `end`."""

    head: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

    def __init__(self) -> None:
        self._crc = 0
        self._length = 0

    def add(self, piece: Piece) -> bytes:
        """The bytes of the next piece."""
        # As zlib's crc32_combine: https://www.zlib.net/manual.html#Checksum
        self._crc = _times(piece.shift, self._crc) ^ piece.crc
        self._length += piece.length
        return piece.blocks

    def end(self) -> bytes:
        """The end of the stream."""
        return _LAST_BLOCK + struct.pack("<II", self._crc, self._length & 0xFFFFFFFF)


def _times(matrix: Matrix, crc: int) -> int:
    found = 0
    for bit in range(_BITS):
        if crc >> bit & 1:
            found ^= matrix[bit]
    return found


def _shift(length: int) -> Matrix:
    """What so many bytes do to the CRC before them, whatever they are."""
    found = [1 << bit for bit in range(_BITS)]
    nothing = zlib.crc32(b"\x00")
    power = [zlib.crc32(b"\x00", 1 << bit) ^ nothing for bit in range(_BITS)]
    while length:
        if length & 1:
            found = [_times(power, column) for column in found]
        power = [_times(power, column) for column in power]
        length >>= 1
    return found
