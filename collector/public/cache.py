"""In-memory cache of compressed download pieces, valid for one revision of the series. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from collector.public.compression import Piece

_ENTRY_OVERHEAD: Final = 2048
"""Bytes that an entry takes beside its blocks: key, checksum, and its place in the dictionary."""


class PieceCache:
    """Least-recently-used cache of pieces, limited to `max_bytes`.

    A new revision of the series empties it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.size = 0
        """Bytes in use."""
        self._revision = ""
        self._pieces: OrderedDict[Hashable, Piece] = OrderedDict()

    def get(self, revision: str, key: Hashable) -> Piece | None:
        """The cached piece of this revision. Drops all pieces of any other revision."""
        if revision != self._revision:
            self._revision, self.size = revision, 0
            self._pieces.clear()
        piece = self._pieces.get(key)
        if piece is not None:
            self._pieces.move_to_end(key)
        return piece

    def put(self, revision: str, key: Hashable, piece: Piece) -> None:
        """Cache a piece, unless it is of another revision or larger than the whole cache."""
        size = len(piece.blocks) + _ENTRY_OVERHEAD
        if revision != self._revision or key in self._pieces or size > self._max_bytes:
            return
        self._pieces[key] = piece
        self.size += size
        while self.size > self._max_bytes:
            _, evicted = self._pieces.popitem(last=False)
            self.size -= len(evicted.blocks) + _ENTRY_OVERHEAD
