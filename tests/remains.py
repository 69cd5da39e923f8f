"""The bytes that programs have left in files, which are searched for what must not be there."""

from __future__ import annotations

from pathlib import Path


def contents(*places: Path) -> dict[Path, bytes]:
    """The bytes of files, and of all files in directories, of programs that may still run.

    If a file goes meanwhile, all are read anew: InfluxDB has compacted it into another one, or
    SQLite has moved its log into the database.
    """
    while True:
        found = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
        try:
            return {file: file.read_bytes() for file in found}
        except FileNotFoundError:
            continue
