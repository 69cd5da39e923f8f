"""Raw rows of a day by range of pseudonyms: in memory if there is one range, else on disk.

On disk they are in files without a name, which vanish with the process that opened them.
"""

from __future__ import annotations

import io
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from collector.lazy import pl
from collector.rollup.facts import (
    DayFacts,
    NodeFacts,
    Rows,
    ServerFacts,
    columns,
    gather,
    join_facts,
    node_facts,
    server_facts,
)
from collector.rollup.ranges import Plan, Range, ranges_of, split
from collector.schema import NODE_REPORT, SERVER_REPORT, Measurement


class DayRows:
    """Rows of both raw measurements of a day; a context manager, as it may open files.

    Rows must be added in order of time; those added after the end are given up. Methods raise
    OSError if the disk is full or fails.
    """

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.plan = plan
        self._of = {
            measurement.name: _Pieces(measurement, plan.ranges, directory)
            for measurement in (NODE_REPORT, SERVER_REPORT)
        }
        self._node_facts: NodeFacts | None = None
        self._server_facts: ServerFacts | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pieces in self._of.values():
            pieces.close()

    def add(self, measurement: Measurement, rows: pl.DataFrame, *, last: bool = False) -> None:
        """Add the next rows of a measurement.

        With the `last` ones its facts are computed, if there is one range: the rows of the other
        measurement may still be read meanwhile.
        """
        pieces = self._of[measurement.name]
        pieces.add(rows)
        if not last or self.plan.ranges > 1:
            return
        if measurement is NODE_REPORT:
            self._node_facts = node_facts(pieces.of(0))
        else:
            self._server_facts = server_facts(pieces.of(0))

    @property
    def reports(self) -> int:
        """The number of reports added."""
        return self._of[SERVER_REPORT.name].height

    @property
    def node_reports(self) -> int:
        """The number of nodes in those reports; a node counts once for each report."""
        return self._of[NODE_REPORT.name].height

    @property
    def ranges(self) -> Iterator[Range]:
        """The ranges, one after the other."""
        return ranges_of(self.plan.ranges)

    def facts(self, part: Range) -> DayFacts:
        """Compute the facts of a range, unless `add` has."""
        if self._node_facts is not None and self._server_facts is not None:
            return join_facts(self._node_facts, self._server_facts)
        return gather(*(pieces.of(part.number) for pieces in self._of.values()))


class _Pieces:
    """Rows of one measurement, in pieces by range."""

    def __init__(self, measurement: Measurement, ranges: int, directory: Path) -> None:
        self.height = 0
        self._measurement = measurement
        self._ranges = ranges
        self._directory = directory
        self._file: IO[bytes] | None = None
        self._closed = False
        self._lock = threading.Lock()
        """A thread may still add rows while its task, which was cancelled, closes."""
        self._held: dict[int, list[pl.DataFrame]] = {}
        self._written: dict[int, list[tuple[int, int]]] = {}
        """Start and length of the pieces of each range in the file."""

    def add(self, rows: pl.DataFrame) -> None:
        self.height += rows.height
        for number, part in split(rows, columns(self._measurement)[0], self._ranges).items():
            with self._lock:
                if self._closed:
                    return
                if self._ranges == 1:
                    self._held.setdefault(number, []).append(part)
                else:
                    self._write(number, part)

    def _write(self, number: int, part: pl.DataFrame) -> None:
        if self._file is None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 closed in `close`
        content = io.BytesIO()
        part.write_parquet(content, compression="lz4")
        start = self._file.seek(0, io.SEEK_END)
        self._file.write(content.getbuffer())
        self._written.setdefault(number, []).append((start, content.tell()))

    def of(self, number: int) -> pl.DataFrame:
        """The rows of a range, which are given up if they are in memory."""
        pieces = self._held.pop(number, [])
        if self._file is not None:
            for start, length in self._written.get(number, ()):
                self._file.seek(start)
                pieces.append(pl.read_parquet(self._file.read(length)))
        return pl.concat(pieces) if pieces else Rows(self._measurement).frame()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._held.clear()
            if self._file is not None:
                self._file.close()
