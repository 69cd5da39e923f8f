"""Dumps as people save them: compressed, by PowerShell, through pipes, cut off, with messages."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO, cast

import pytest

from collector.history.asl3_dump import DumpError, Row
from collector.history.asl3_dump_file import DumpFile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEAD = "-- MariaDB dump 10.19\n\nCREATE TABLE `t` (`a` int, `b` text);\n"
ROWS = "INSERT INTO `t` VALUES (1,'Réseau d\\'île β 🚀'),(2,'two\\nlines');\n"
END = "/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;\n\n-- Dump completed on 2026-11-25 15:36:15\n"
WHOLE = HEAD + ROWS + END
EXPECTED = [("t", {"a": "1", "b": "Réseau d'île β 🚀"}), ("t", {"a": "2", "b": "two\nlines"})]
WARNING = "mysqldump: [Warning] Using a password on the command line can't be secure.\n"
LOST = "mariadb-dump: Error 2013: Lost connection to server when dumping table `t` at row: 4\n"


def read(data: bytes | BinaryIO) -> tuple[list[tuple[str, Row]], list[str]]:
    with DumpFile(io.BytesIO(data) if isinstance(data, bytes) else data) as dump:
        return list(dump.rows(["t"])), dump.doubts


def windows(text: str) -> str:
    return text.replace("\n", "\r\n")


FORMS = {
    "plain": WHOLE.encode(),
    "with a byte order mark": WHOLE.encode("utf-8-sig"),
    "PowerShell": windows(WHOLE).encode("utf-16"),
    "UTF-16, big-endian": b"\xfe\xff" + windows(WHOLE).encode("utf-16-be"),
    "UTF-16 without mark": windows(WHOLE).encode("utf-16-le"),
    "UTF-16, big-endian, without mark": windows(WHOLE).encode("utf-16-be"),
    "gzip": gzip.compress(WHOLE.encode()),
    "gzip in parts": gzip.compress(HEAD.encode()) + gzip.compress((ROWS + END).encode()),
    "xz": lzma.compress(WHOLE.encode()),
    "zstd": zstd.compress(WHOLE.encode()),
    "zstd in parts": zstd.compress(HEAD.encode()) + zstd.compress((ROWS + END).encode()),
    "PowerShell, then zstd": zstd.compress(windows(WHOLE).encode("utf-16")),
    "a warning first": (WARNING + WHOLE).encode(),
    "a warning in between": (HEAD + WARNING + ROWS + END).encode(),
    "a warning with a path": (
        r"C:\Tools\mysqldump.exe: [Warning] it's so." + "\r\n" + WHOLE
    ).encode(),
    "no date at the end": WHOLE.replace(" on 2026-11-25 15:36:15", "").encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_whole_dump_is_read_in_every_form(form: str) -> None:
    assert read(FORMS[form]) == (EXPECTED, [])


@pytest.mark.parametrize("form", ["plain", "PowerShell", "xz", "zstd"])
def test_whole_dump_is_read_from_a_pipe(form: str) -> None:
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as pipe:
            for at in range(0, len(FORMS[form]), 7):
                pipe.write(FORMS[form][at : at + 7])
                pipe.flush()

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(reading, "rb", 0) as pipe:
        assert read(cast("BinaryIO", pipe)) == (EXPECTED, [])
    thread.join()


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        (HEAD + ROWS, "does not end with `-- Dump completed`"),
        (WHOLE + HEAD, "does not end with `-- Dump completed`"),
        (HEAD + ROWS + "-- Dump completed, says 'somebody' in a comment\n;\n", "does not end"),
        (HEAD + ROWS + LOST, "Lost connection to server"),
        (HEAD + LOST + ROWS + END, "Lost connection to server"),
        ("mysqldump: Couldn't execute 'SHOW': denied (1227)\n" + WHOLE, "Couldn't execute"),
        (HEAD + "mysqldump: Got errno 28 on write\n" + ROWS + END, "Got errno 28"),
    ],
)
def test_dump_that_may_not_be_whole_is_doubted(text: str, doubt: str) -> None:
    rows, doubts = read(text.encode())
    assert rows == EXPECTED
    assert any(doubt in one for one in doubts)


def test_message_is_no_part_of_a_row(caplog: pytest.LogCaptureFixture) -> None:
    """A text that only looks like one is within a literal, behind an escaped line end."""
    text = HEAD + "INSERT INTO `t` VALUES (1,'a\\nmysqldump: it said'),(2,'b');\n" + END
    rows, doubts = read(text.encode())
    assert [row["b"] for _, row in rows] == ["a\nmysqldump: it said", "b"]
    assert doubts == []
    assert not caplog.records


def zstd_checked(data: bytes) -> bytes:
    """As the command `zstd` does it, with a checksum."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


@pytest.mark.parametrize("packed", [gzip.compress, lzma.compress, zstd_checked])
def test_compressed_dump_that_is_damaged_or_cut_is_refused(
    packed: Callable[[bytes], bytes],
) -> None:
    data = packed(WHOLE.encode())
    middle = bytearray(data)
    middle[len(data) // 2] ^= 0xFF
    for damaged in (data[:-6], data[: len(data) // 2], data[:12], bytes(middle)):
        with pytest.raises(DumpError):
            read(damaged)


@pytest.mark.parametrize("text", [windows(WHOLE).encode("utf-16")[:-1], b"\xff\xfe\x00\xd8A\x00"])
def test_utf16_that_is_cut_or_broken_is_refused(text: bytes) -> None:
    with pytest.raises(DumpError, match="UTF-16"):
        read(text)


def test_long_lines_are_read_in_pieces() -> None:
    many = ",".join(f"({number},'{'x' * 1000}')" for number in range(500))
    rows, doubts = read(f"{HEAD}INSERT INTO `t` VALUES {many};\n{END}".encode())
    assert len(rows) == 500
    assert doubts == []
