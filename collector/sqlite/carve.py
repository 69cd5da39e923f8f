"""Reader for damaged SQLite files that SQLite itself refuses to read.

It reads every page by itself, in its newest version from the write-ahead log, so that a damaged
page loses only its own rows. It writes nothing. Formats: https://sqlite.org/fileformat2.html,
sections 1.5 (pages), 1.6 (overflow pages), 2.1 (records) and 4 (the log).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from collector.sqlite.lock import log_of

Value = int | float | str | bytes | None
Types = tuple[int, ...]
"""Serial types of a row's columns, as the file format numbers them."""

_MAGIC: Final = b"SQLite format 3\0"
_FIRST_PAGE_HEADER: Final = 100
_LOG_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_LOG_MAGIC: Final = (0x377F0682, 0x377F0683)
_DEFAULT_PAGE: Final = 4096
_TABLE_LEAF: Final = 0x0D
_INDEX_LEAF: Final = 0x0A
_LONGEST: Final = 16 << 20
_MOST_FRAMES: Final = 20_000
_BROKEN: Final = (IndexError, ValueError, struct.error)


class Carved:
    """The pages of an SQLite file and its log; also a context manager that closes both.

    Raises OSError if one cannot be read.
    """

    def __init__(self, path: Path) -> None:
        log = log_of(path)
        with ExitStack() as stack:
            self._file = stack.enter_context(path.open("rb"))
            self._log = stack.enter_context(log.open("rb")) if log.exists() else None
            self._size = self._page_size()
            self._newest = self._logged()
            length = path.stat().st_size
            self.count = max([-(-length // self._size), *self._newest])
            """Number of pages."""
            self._free = self._free_pages()
            self._opened = stack.pop_all()

    def __enter__(self) -> Carved:
        return self

    def __exit__(self, *_error: object) -> None:
        self._opened.close()

    def rows(
        self, wanted: Callable[[Types], bool] = lambda _types: True
    ) -> Iterator[tuple[int, tuple[Value, ...]]]:
        """Yield each readable row: its number (0 if its table has none) and its values.

        Skips a page if the types of its first row are not `wanted`: all rows of a page belong to
        one table.
        """
        for number in range(1, self.count + 1):
            if number in self._free:
                continue
            page = self._page(number)
            header = _FIRST_PAGE_HEADER if number == 1 else 0
            if len(page) == self._size and page[header] in (_TABLE_LEAF, _INDEX_LEAF):
                yield from self._rows(page, header, wanted)

    def _rows(
        self, page: bytes, header: int, wanted: Callable[[Types], bool]
    ) -> Iterator[tuple[int, tuple[Value, ...]]]:
        numbered = page[header] == _TABLE_LEAF
        (cells,) = struct.unpack_from(">H", page, header + 3)
        first = True
        for cell in range(min(cells, self._size // 4)):
            try:
                (at,) = struct.unpack_from(">H", page, header + 8 + 2 * cell)
                number, payload = self._cell(page, at, numbered=numbered)
                types, body = _types(payload)
                if first and not wanted(types):
                    return
                first = False
                yield number, _values(types, payload, body)
            except _BROKEN:
                continue

    def _cell(self, page: bytes, at: int, *, numbered: bool) -> tuple[int, bytes]:
        """Return a cell's row number and payload, its overflow pages included."""
        length, at = _varint(page, at)
        number, at = _varint(page, at) if numbered else (0, at)
        if length > _LONGEST:
            raise ValueError("no row is so long")
        usable = self._size
        most = usable - 35 if numbered else (usable - 12) * 64 // 255 - 23
        here = length
        if length > most:
            least = (usable - 12) * 32 // 255 - 23
            here = least + (length - least) % (usable - 4)
            here = here if here <= most else least
        payload = bytearray(page[at : at + here])
        if length > here:
            (following,) = struct.unpack_from(">I", page, at + here)
            while len(payload) < length:
                more = self._page(following)
                (following,) = struct.unpack_from(">I", more)
                payload += more[4 : 4 + min(usable - 4, length - len(payload))]
        if len(payload) != length:
            raise ValueError("a row ends early")
        return number, bytes(payload)

    def _page(self, number: int) -> bytes:
        if not 1 <= number <= self.count:
            raise ValueError("there is no such page")
        if (at := self._newest.get(number)) is not None and self._log is not None:
            self._log.seek(at)
            return self._log.read(self._size)
        self._file.seek((number - 1) * self._size)
        return self._file.read(self._size)

    def _page_size(self) -> int:
        """Read the page size from the file's header, else from the log's, else SQLite's default."""
        head = self._file.read(_FIRST_PAGE_HEADER)
        if head.startswith(_MAGIC):
            (size,) = struct.unpack_from(">H", head, 16)
            if _is_page_size(size):
                return int(size)
        if self._log is not None:
            head = self._log.read(_LOG_HEADER)
            if len(head) == _LOG_HEADER:
                (size,) = struct.unpack_from(">I", head, 8)
                if _is_page_size(size):
                    return int(size)
        return _DEFAULT_PAGE

    def _logged(self) -> dict[int, int]:
        """Return the log's offset of the newest committed version of each page.

        Frames' checksums are not verified: the caller checks each row.
        """
        newest: dict[int, int] = {}
        if self._log is None:
            return newest
        self._log.seek(0)
        header = self._log.read(_LOG_HEADER)
        if len(header) < _LOG_HEADER or struct.unpack_from(">I", header)[0] not in _LOG_MAGIC:
            return newest
        salts = header[16:24]
        uncommitted: dict[int, int] = {}
        at = _LOG_HEADER
        while True:
            self._log.seek(at)
            frame = self._log.read(_FRAME_HEADER)
            if len(frame) < _FRAME_HEADER:
                return newest
            number, pages = struct.unpack_from(">II", frame)
            at += _FRAME_HEADER
            # Frames with other salts are left over from an earlier round of the log.
            if frame[8:16] == salts:
                uncommitted[number] = at
                if pages:
                    newest |= {page: where for page, where in uncommitted.items() if page <= pages}
                    uncommitted.clear()
            at += self._size

    def _free_pages(self) -> set[int]:
        """Return the free pages, which hold deleted content, as far as their list is readable."""
        free: set[int] = set()
        try:
            head = self._page(1)
            if not head.startswith(_MAGIC):
                return free
            (trunk,) = struct.unpack_from(">I", head, 32)
            while trunk and trunk not in free:
                free.add(trunk)
                page = self._page(trunk)
                trunk, leaves = struct.unpack_from(">II", page)
                free.update(struct.unpack_from(f">{min(leaves, self._size // 4 - 2)}I", page, 8))
        except _BROKEN:
            pass
        return free


def _is_page_size(size: int) -> bool:
    return 512 <= size <= 32768 and size & (size - 1) == 0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable-length integer, and the offset after it."""
    value = 0
    for index in range(at, at + 8):
        byte = data[index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, index + 1
    value = value << 8 | data[at + 8]
    return value - (1 << 64) if value >> 63 else value, at + 9


def _types(payload: bytes) -> tuple[Types, int]:
    """Return a record's serial types, and the offset of its values."""
    end, at = _varint(payload, 0)
    if end > len(payload):
        raise ValueError("a record's header is longer than it")
    types = []
    while at < end:
        kind, at = _varint(payload, at)
        types.append(kind)
    return tuple(types), end


_INTEGERS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def _values(types: Types, payload: bytes, at: int) -> tuple[Value, ...]:
    """Return a record's column values. Raises ValueError if they do not match its types."""
    values: list[Value] = []
    for kind in types:
        size = _INTEGERS.get(kind, 8 if kind == 7 else max(0, kind - 12) // 2)
        piece = payload[at : at + size]
        if len(piece) != size:
            raise ValueError("a record ends early")
        at += size
        if kind in _INTEGERS:
            values.append(int.from_bytes(piece, signed=True))
        elif kind in (8, 9):
            values.append(kind - 8)
        elif kind == 7:
            values.append(float(struct.unpack(">d", piece)[0]))
        elif kind >= 12:
            values.append(piece.decode() if kind % 2 else piece)
        else:
            values.append(None)
    return tuple(values)


def log_is_damaged(log: Path) -> bool:
    """Return whether a write-ahead log is damaged before its last commit.

    SQLite would silently drop what follows the damage. A crash may tear the last commit, whose
    reports were not yet acknowledged; two or more commits from a broken frame on mean damage.
    Raises OSError if the log cannot be read.
    """
    with log.open("rb") as file:
        header = file.read(_LOG_HEADER)
        if len(header) < _LOG_HEADER:
            return False
        magic, _, size = struct.unpack_from(">III", header)
        if magic not in _LOG_MAGIC or not _is_page_size(size):
            # A log whose header is broken is ignored by SQLite as if it were empty.
            return True
        order = ">" if magic & 1 else "<"
        sums = _sum(order, header[:24], (0, 0))
        if sums != struct.unpack_from(">II", header, 24):
            return True
        broken, commits = False, 0
        for _ in range(_MOST_FRAMES):
            frame = file.read(_FRAME_HEADER + size)
            if len(frame) < _FRAME_HEADER + size:
                break
            if frame[8:16] != header[16:24]:
                # The end, or a broken frame: commits after it tell which.
                broken = True
                continue
            if not broken:
                sums = _sum(order, frame[_FRAME_HEADER:], _sum(order, frame[:8], sums))
                broken = sums != struct.unpack_from(">II", frame, 16)
            if broken and struct.unpack_from(">I", frame, 4)[0]:
                commits += 1
        return commits > 1


def _sum(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    """Continue the log's running checksum over more bytes (section 4.2 of the format)."""
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for at in range(0, len(words), 2):
        first = first + words[at] + second & 0xFFFFFFFF
        second = second + words[at + 1] + first & 0xFFFFFFFF
    return first, second


def shape(types: Types) -> str:
    """Return one letter for each column's type: n(ull), i(nteger), f(loat), t(ext), b(lob)."""
    return "".join(
        "n" if t == 0 else "f" if t == 7 else "i" if t < 12 else "t" if t % 2 else "b"
        for t in types
    )
