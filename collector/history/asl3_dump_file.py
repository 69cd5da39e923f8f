"""Reader for dump files: plain or compressed, UTF-8 or UTF-16, from a disk or a pipe.

mysqldump and mariadb-dump write `-- Dump completed` last. A dump without it may be truncated, even
if it ends after a complete statement: https://dev.mysql.com/doc/refman/8.4/en/mysqldump.html
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Container, Iterator
from typing import BinaryIO, Final, Self, TextIO, cast

from collector.history.asl3_dump import DumpError, Row, dump_rows

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_COMPRESSIONS: Final[dict[bytes, Callable[[BinaryIO], object]]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": zstd.ZstdFile,
}
"""Functions that open compressed files, by the first bytes of the file."""
_DAMAGED: Final = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, zstd.ZstdError)
_MESSAGE: Final = re.compile(r"(?:\S*[/\\])?(?:mysql|mariadb)[\w-]*(?:\.exe)?: ")
"""A message of the dump program; its regular output has no such lines."""
_HARMLESS: Final = re.compile(r"\[(?:Warning|Note)\]|^\S+ (?:Deprecated|WARNING)")
_COMPLETED: Final = re.compile(r"(?:\A|[\r\n])-- Dump completed[^\r\n]*\s*\Z")
_TAIL: Final = 1000
_PEEK: Final = 16
_SHOWN: Final = 200


class DumpFile:
    """A dump in an open file: its rows, and signs that it may be incomplete.

    Leaving the context closes the file. Raises DumpError if the file is damaged or not a dump.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._plain = _peekable(file)
        self._decoded = _decoded(self._plain)
        self._text = _Text(self._decoded)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._decoded.close()
        self._plain.close()

    def rows(self, tables: Container[str]) -> Iterator[tuple[str, Row]]:
        """Yield each row of `tables` with the table's name, in the order of the file."""
        try:
            # `dump_rows` only calls `read`.
            yield from dump_rows(cast("TextIO", self._text), tables)
        except _DAMAGED as error:
            raise DumpError(f"the compressed dump is damaged or not whole: {error}") from error
        except UnicodeError as error:
            raise DumpError(f"the dump is not UTF-16 text: {error}") from error

    @property
    def doubts(self) -> list[str]:
        """Reasons why the dump may be incomplete; call it after all rows were read."""
        found = [f"the dump program reported: {message}" for message in self._text.messages]
        if not _COMPLETED.search(self._text.tail):
            found.append(
                "the dump does not end with `-- Dump completed`: it is truncated, or was made with"
                " --compact or --skip-comments"
            )
        return found


class _Text:
    """The text of a dump, without program messages mixed into it (`2>&1`, PowerShell)."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._line_begins = True
        self.messages: list[str] = []
        self.tail = ""

    def read(self, size: int) -> str:
        """Read at least `size` characters, fewer at the end; empty at the end of the file."""
        pieces: list[str] = []
        length = 0
        # Lines of a dump may have megabytes, so they are read in pieces.
        while length < size and (piece := self._file.readline(size)):
            begins, self._line_begins = self._line_begins, piece[-1] in "\r\n"
            if begins and _MESSAGE.match(piece):
                self._line_begins = True
                if not _HARMLESS.search(piece):
                    self.messages.append(piece.strip()[:_SHOWN])
                continue
            pieces.append(piece)
            length += len(piece)
        text = "".join(pieces)
        self.tail = (self.tail + text[-_TAIL:])[-_TAIL:]
        return text


def _decoded(plain: io.BufferedReader) -> TextIO:
    head = plain.peek(_PEEK)
    for magic, opened in _COMPRESSIONS.items():
        if head.startswith(magic):
            plain = _peekable(opened(plain))
    try:
        head = plain.peek(_PEEK)
    except _DAMAGED as error:
        raise DumpError(f"the compressed dump is damaged or not whole: {error}") from error
    encoding = _encoding(head)
    # An invalid character in a name must not prevent the import.
    errors = "replace" if encoding.startswith("utf-8") else "strict"
    return io.TextIOWrapper(plain, encoding=encoding, errors=errors, newline="")


def _encoding(head: bytes) -> str:
    """Detect the encoding by the byte order mark, or by zero bytes if there is none."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if len(head) > 1 and 0 in head[:2]:
        return "utf-16-le" if head[1] == 0 else "utf-16-be"
    return "utf-8-sig"


def _peekable(file: object) -> io.BufferedReader:
    # Pipes, terminals, decompressors and progress bars all have the methods that it calls.
    return io.BufferedReader(cast("io.RawIOBase", file))
