"""Pieces of a body, compressed separately and joined into one gzip stream (RFC 1952). Pure."""

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
"""A linear map of CRCs over GF(2): the image of each bit."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a body as deflate blocks (RFC 1951), none of them marked as the last.

    `crc` and `length` (bytes) are those of the uncompressed part; `shift` maps the CRC of the bytes
    before it to their CRC with `length` bytes more.
    """

    blocks: bytes
    crc: int
    length: int
    shift: Matrix

    @classmethod
    def of(cls, body: bytes) -> Piece:
        """Compress a part. Takes about 20 ms per MiB: call it in a thread."""
        compressor = zlib.compressobj(_LEVEL, wbits=_RAW)
        # A full flush ends on a byte boundary, and later blocks refer to nothing before it.
        blocks = compressor.compress(body) + compressor.flush(zlib.Z_FULL_FLUSH)
        return cls(blocks, zlib.crc32(body), len(body), _shift(len(body)))

    def decompressed(self) -> bytes:
        """The uncompressed part."""
        return zlib.decompressobj(_RAW).decompress(self.blocks)


class Gzip:
    """One gzip stream: `head`, then the bytes from `add` for each piece, then those from `end`."""

    head: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

    def __init__(self) -> None:
        self._crc = 0
        self._length = 0

    def add(self, piece: Piece) -> bytes:
        """The next piece's bytes."""
        # As zlib's crc32_combine: https://www.zlib.net/manual.html#Checksum
        self._crc = _times(piece.shift, self._crc) ^ piece.crc
        self._length += piece.length
        return piece.blocks

    def end(self) -> bytes:
        """The last block and the trailer."""
        return _LAST_BLOCK + struct.pack("<II", self._crc, self._length & 0xFFFFFFFF)


def _times(matrix: Matrix, crc: int) -> int:
    found = 0
    for bit in range(_BITS):
        if crc >> bit & 1:
            found ^= matrix[bit]
    return found


def _shift(length: int) -> Matrix:
    """The effect of `length` further bytes on the CRC of the bytes before them."""
    found = [1 << bit for bit in range(_BITS)]
    nothing = zlib.crc32(b"\x00")
    power = [zlib.crc32(b"\x00", 1 << bit) ^ nothing for bit in range(_BITS)]
    while length:
        if length & 1:
            found = [_times(power, column) for column in found]
        power = [_times(power, column) for column in power]
        length >>= 1
    return found
