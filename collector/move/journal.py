"""Journal of a move: which spans of which measurements the target holds as they were read.

A file of JSON lines in the state directory. A line that a kill cut off counts as not there, and a
span without a line is compared with the target before it is copied, so no line need be on the disk
before the next step; only the first, which allows points to be deleted at the target, is synced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Self

from collector.influx.contents import Points, Span

_PREFIX: Final = "move-"
_DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Copied:
    """A span of a measurement as it was when it was copied: its points and a digest of them."""

    points: int
    digest: str


class Journal:
    """The journal of the move to one InfluxDB; `target` is its address with the databases' prefix.

    Use it as a context manager. Raises OSError.
    """

    def __init__(self, state: Path, target: str) -> None:
        name = blake2b(target.encode(), digest_size=4).hexdigest()
        self.path = state / f"{_PREFIX}{name}.jsonl"
        self._known: dict[tuple[str, str, Span], Copied] = {}
        self.begun = False
        for said in _lines(self.path):
            self.begun = True
            if "database" in said:
                key = (said["database"], said["measurement"], Span(said["start"], said["end"]))
                self._known[key] = Copied(said["points"], said["digest"])

    def __enter__(self) -> Self:
        self._file = self.path.open("a", encoding="utf-8")
        # A line that was cut off must not run into the next one.
        self._file.write("\n")
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def begin(self) -> None:
        """Note that this move writes to the target from now on, before it does."""
        if not self.begun:
            self._add({"begun": True})
            os.fsync(self._file.fileno())
            self.begun = True

    def copied(self, database: str, measurement: str, span: Span) -> Copied | None:
        """Record of a copied span; None if the journal has none."""
        return self._known.get((database, measurement, span))

    def spans(self, database: str, measurement: str) -> list[Span]:
        """The spans of a measurement that the target has points of, in order of time."""
        return sorted(
            span
            for (one, name, span), copied in self._known.items()
            if (one, name) == (database, measurement) and copied.points
        )

    def measurements(self, database: str) -> set[str]:
        """The measurements of a database that the target has points of."""
        return {
            name
            for (one, name, _), copied in self._known.items()
            if one == database and copied.points
        }

    def add(self, database: str, measurement: str, span: Span, copied: Copied) -> None:
        """Note that the target holds these points of a span, and no others."""
        self._known[database, measurement, span] = copied
        whose = {"database": database, "measurement": measurement}
        self._add(whose | asdict(span) | asdict(copied))

    def forget(self) -> None:
        """Delete the file: the move is complete."""
        self.path.unlink()

    def _add(self, said: dict[str, Any]) -> None:
        self._file.write(json.dumps(said) + "\n")
        self._file.flush()


def copied_of(points: Points) -> Copied:
    """The number of points of a span, and a digest of their lines."""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for time in sorted(points):
        for line in points[time]:
            digest.update(line.encode() + b"\n")
    return Copied(sum(map(len, points.values())), digest.hexdigest())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                said = json.loads(line)
            except ValueError:
                # An empty line, or one that a kill cut off.
                continue
            yield said
