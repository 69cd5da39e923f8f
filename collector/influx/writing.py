"""Stores points, all of them, or raises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collector.influx.client import Denied, Influx, Rejected, TooLarge, Unavailable, Written
from collector.influx.errors import InfluxError, InfluxUnavailable

BATCH: Final = 5000
"""Lines in one write."""


async def write_all(influx: Influx, database: str, what: str, lines: Sequence[str | bytes]) -> None:
    """Write lines, a batch at a time; `what` they are is said in errors.

    Raises InfluxUnavailable where the same may succeed later, InfluxError where InfluxDB refused:
    in both cases earlier batches are stored.
    """
    for first in range(0, len(lines), BATCH):
        batch = [
            line if isinstance(line, bytes) else line.encode()
            for line in lines[first : first + BATCH]
        ]
        match await influx.write(database, b"\n".join(batch)):
            case Written():
                continue
            case Unavailable(reason):
                raise InfluxUnavailable(f"{what} could not be written: {reason}")
            case Rejected(reason):
                raise InfluxError(f"{what} could not be written: {reason}")
            case Denied(status, reason):
                raise InfluxError(f"{what} could not be written ({status}): {reason}")
            case TooLarge():
                raise InfluxError(f"{what} could not be written: too large for InfluxDB")
