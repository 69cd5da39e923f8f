"""What was made of the series, kept until the rollup writes again; bounded. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from collector.public.packing import Piece

_EACH: Final = 2048
"""What a piece takes beside its bytes: its key, its numbers, its place."""


class Kept:
    """Pieces of answers, at most `most` bytes; those that nobody asked for longest go first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._revision = ""
        self._pieces: OrderedDict[Hashable, Piece] = OrderedDict()

    @property
    def held(self) -> int:
        """Bytes in use."""
        return self._held

    def get(self, revision: str, key: Hashable) -> Piece | None:
        """A piece made of this revision of the series. All of any other are dropped."""
        if revision != self._revision:
            self._revision, self._held = revision, 0
            self._pieces.clear()
        piece = self._pieces.get(key)
        if piece is not None:
            self._pieces.move_to_end(key)
        return piece

    def put(self, revision: str, key: Hashable, piece: Piece) -> None:
        """Keep a piece, unless the series has changed since, or it alone takes too much."""
        size = len(piece.blocks) + _EACH
        if revision != self._revision or key in self._pieces or size > self._most:
            return
        self._pieces[key] = piece
        self._held += size
        while self._held > self._most:
            _, gone = self._pieces.popitem(last=False)
            self._held -= len(gone.blocks) + _EACH
