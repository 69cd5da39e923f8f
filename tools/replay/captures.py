"""Reader of recorded traffic: what came, what was sent, and what was true meanwhile.

The files are in tests/cases/ami and tests/cases/statsd. Lines that begin with `#` describe the
recording; every other line is a time in s, a tab, and the `repr` of bytes: one read of a socket, or
one datagram. `> ` before the time marks what the recording client sent, `= ` what became of its
connection, in words.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path

CASES = Path(__file__).resolve().parents[2] / "tests" / "cases"
AMI = sorted((CASES / "ami").glob("*.ami.txt"))
"""Recorded sessions of AMI."""
STATSD = sorted([*(CASES / "statsd").glob("[0-9]*.txt"), *(CASES / "ami").glob("*.statsd.txt")])
"""Recorded datagrams of StatsD."""

_STAMPED = re.compile(r"#\s+(\d+\.\d{3}) (DO   |TRUTH|PHONE) ?(.*)")


class Way(Enum):
    """The direction of a line of a recording."""

    IN = ""
    OUT = "> "
    CONNECTION = "= "


@dataclass(frozen=True, slots=True)
class Traffic:
    """What passed at `at` (s): bytes, or for `Way.CONNECTION` the UTF-8 of a sentence."""

    way: Way
    at: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Remark:
    """A line of the description: what was done (DO), true (TRUTH), or seen by a phone (PHONE)."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """A recording: its description without `# `, its remarks, and its traffic in order.

    It is compared by identity, so that what is made of it can be held.
    """

    name: str
    description: tuple[str, ...]
    remarks: tuple[Remark, ...]
    traffic: tuple[Traffic, ...]

    def truths(self) -> list[Remark]:
        """What was true, in order of time."""
        return [remark for remark in self.remarks if remark.kind == "TRUTH"]

    def received(self) -> Iterator[tuple[float, bytes]]:
        """Time in s and bytes of each read or datagram."""
        return ((one.at, one.data) for one in self.traffic if one.way is Way.IN)


@lru_cache(maxsize=32)
def read_capture(path: Path) -> Capture:
    """Read a recording. Raises ValueError where a line is none of a recording."""
    description, remarks, traffic = [], [], []
    # Only a line feed ends a line: values hold other characters that Python takes for an end.
    for line in path.read_bytes().decode().split("\n"):
        if line.startswith("#"):
            description.append(line.removeprefix("#").removeprefix(" "))
            if found := _STAMPED.match(line):
                remarks.append(Remark(float(found[1]), found[2].strip(), found[3]))
        elif line:
            traffic.append(_traffic(line))
    return Capture(path.name.split(".")[0], tuple(description), tuple(remarks), tuple(traffic))


def _traffic(line: str) -> Traffic:
    way = next((way for way in (Way.OUT, Way.CONNECTION) if line.startswith(way.value)), Way.IN)
    at, tab, text = line[len(way.value) :].partition("\t")
    if not tab:
        raise ValueError(f"no tab in {line[:40]!r}")
    data = text.encode() if way is Way.CONNECTION else ast.literal_eval(text)
    if not isinstance(data, bytes):
        raise ValueError(f"no bytes in {line[:40]!r}")  # noqa: TRY004 - of the file, not of a type
    return Traffic(way, float(at), data)
