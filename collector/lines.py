"""InfluxDB line protocol, and unique timestamps for points. Pure.

Format: https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from collector.schema import LABEL_LENGTH, UNKNOWN

NS_PER_DAY = 86_400 * 10**9
STEP_NS = 1000
"""Step between timestamps of one process, in ns: the last three digits are the instance's."""

_MEASUREMENT = str.maketrans({",": r"\,", " ": r"\ "})
_KEY = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})

FieldValue = int | float | str

_UNESCAPED: dict[str, re.Pattern[str]] = {
    mark: re.compile(rf"(?:\\.|[^\\{mark}])*", re.DOTALL) for mark in (" ", ",", "=")
}
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Point:
    """One point: measurement, tags, fields, and time in ns."""

    measurement: str
    tags: Mapping[str, str]
    fields: Mapping[str, FieldValue]
    time: int


@lru_cache(maxsize=4096)
def label(text: str) -> str:
    """A tag value made from a sender's text: printable, trimmed, at most 64 characters.

    Runs of white space and unprintable characters become one space; empty text becomes `unknown`.
    A backslash becomes a slash: line protocol cannot express a backslash before a comma in a tag.
    """
    if not text.isprintable() or "  " in text:
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text.replace("\\", "/").strip()[:LABEL_LENGTH].rstrip() or UNKNOWN


def tag_set(tags: Mapping[str, str]) -> str:
    """The tags of a line, `,key=value` each, sorted by name as InfluxDB recommends."""
    return "".join([f",{_key(name)}={_key(tags[name])}" for name in sorted(tags)])


# The same few names and labels recur; escaping costs more than a lookup.
@lru_cache(maxsize=8192)
def _key(text: str) -> str:
    return text.translate(_KEY)


def field_value(value: FieldValue) -> str:
    """A field's value: an integer as `3i`, a float as it is, text in quotes."""
    if isinstance(value, str):
        return f'"{escaped(value)}"'
    return f"{int(value)}i" if isinstance(value, int) else repr(value)


def escaped(text: str) -> str:
    """Text escaped for the quotes of a string field."""
    if '"' in text or "\\" in text:
        return text.replace("\\", "\\\\").replace('"', '\\"')
    return text


def field_format(types: Mapping[str, type[int] | type[str]]) -> str:
    """A format string for a field set, for the `%` operator with the values in this order.

    Text values must be escaped (see `escaped`), without quotes.
    """
    forms = {int: "%di", str: '"%s"'}
    return ",".join([f"{_key(name)}={forms[kind]}" for name, kind in types.items()])


def line_format(measurement: str, types: Mapping[str, type[int] | type[str]]) -> str:
    """A format string for a line, for the `%` operator.

    Its values are the tags (from `tag_set`), the values of the fields as in `field_format`, further
    fields (empty, or starting with a comma), and the time in ns.
    """
    # Names of measurements contain no percent sign.
    return f"{_measurement(measurement)}%s {field_format(types)}%s %d"


def line(measurement: str, tags: str, fields: Mapping[str, FieldValue], time_ns: int) -> str:
    """One line, without a newline. `tags` are from `tag_set`; there must be at least one field."""
    written = ",".join([f"{_key(name)}={field_value(value)}" for name, value in fields.items()])
    return f"{_measurement(measurement)}{tags} {written} {time_ns}"


@lru_cache(maxsize=256)
def _measurement(text: str) -> str:
    return text.translate(_MEASUREMENT)


def parse(text: str) -> Point:
    """Parse a line that `line` made. Raises ValueError for anything else."""
    head = _before(" ", text, 0)
    measurement, *pairs = _split(",", head)
    at = len(head) + 1
    fields: dict[str, FieldValue] = {}
    while True:
        name = _before("=", text, at)
        at += len(name) + 1
        if quoted := _QUOTED.match(text, at):
            value: FieldValue = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
            end = quoted.end()
        else:
            end = min(found for mark in ", " if (found := text.find(mark, at)) >= 0)
            written = text[at:end]
            value = int(written[:-1]) if written.endswith("i") else float(written)
        fields[_plain(name)] = value
        at = end + 1
        if text[end : end + 1] == " ":
            break
    tags = dict(_split("=", pair) for pair in pairs)
    return Point(
        _plain(measurement),
        {_plain(name): _plain(value) for name, value in tags.items()},
        fields,
        int(text[at:]),
    )


def _before(mark: str, text: str, at: int) -> str:
    found = _UNESCAPED[mark].match(text, at)
    return found[0] if found else ""


def _split(mark: str, text: str) -> list[str]:
    """The parts of a text between unescaped marks."""
    parts, at = [], 0
    while at <= len(text):
        parts.append(_before(mark, text, at))
        at += len(parts[-1]) + 1
    return parts


def _plain(text: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", text)


class Stamper:
    """Assigns strictly rising timestamps, unique in this process.

    The last three digits are the instance's number, so that collectors that write to one InfluxDB
    never collide. `last` is the newest timestamp assigned before a restart (0 for none), in case
    the clock was set back.
    """

    def __init__(self, *, instance: int, last: int = 0) -> None:
        if not 0 <= instance < STEP_NS:
            raise ValueError("an instance is a number from 0 to 999")
        self._instance = instance
        self._last = last - last % STEP_NS

    def take(self, now_ns: int, count: int) -> range:
        """`count` timestamps in ns for points received at `now_ns`, all in one UTC day.

        They start at `now_ns`, or just after the last one assigned. If they would cross midnight,
        they end before it if possible, else they start at midnight.
        """
        span = (count - 1) * STEP_NS
        start = max(now_ns - now_ns % STEP_NS, self._last + STEP_NS)
        midnight = (start // NS_PER_DAY + 1) * NS_PER_DAY
        if start + span >= midnight:
            earlier = midnight - STEP_NS - span
            start = earlier if earlier > self._last else midnight
        self._last = start + span
        return range(start + self._instance, start + span + self._instance + 1, STEP_NS)


_BLOCK = 1024 * STEP_NS
"""Length of a block in ns. A day is an even number of blocks, so that no block spans two days."""
LEAD_NS = 10**9
"""Limit of how far a report's timestamps may be ahead of the clock, in ns."""
LANES = (0, 2, 4, 6, 8)
REDATING_LANES = (1, 3, 5, 7)
"""Lanes for reports whose timestamps are replaced after the clock was set."""


class ReportStamper(Stamper):
    """Assigns unique timestamps to points, at most a second ahead of the clock.

    Time is divided into blocks of 1.024 ms, and each block belongs to a lane: every second block to
    lane 0, every second one of the rest to lane 1, and so on. Within a lane, timestamps rise
    strictly. A report is within one block, its points 1 us apart. While the clock rises, reports
    use lane 0. After the clock was set back, lane 0 is in use up to some time ahead: until the
    clock reaches that time, reports use another lane, which shares no timestamp with it.

    `used` are timestamps assigned before a restart, of which the newest in each lane matter.
    `lanes` are the lanes to use, in order of preference; if none is free within `LEAD_NS`, the one
    that is free first is used.
    """

    def __init__(
        self, *, instance: int, used: Iterable[int] = (), lanes: Sequence[int] = LANES
    ) -> None:
        super().__init__(instance=instance)
        self._lanes = tuple(lanes)
        self._marks: dict[int, int] = {}
        for stamp in used:
            lane = _lane(stamp // _BLOCK)
            self._marks[lane] = max(self._marks.get(lane, 0), stamp - stamp % STEP_NS)

    @property
    def marks(self) -> list[int]:
        """The newest timestamp assigned in each lane."""
        return [mark + self._instance for mark in self._marks.values()]

    def take(self, now_ns: int, count: int) -> range:
        """`count` timestamps in ns for a report received at `now_ns`, all in one UTC day.

        The day is that of `now_ns`, unless its last block is full. Raises ValueError if `count`
        exceeds the size of a block.
        """
        length = count * STEP_NS
        if length > _BLOCK:
            raise ValueError(f"a report has at most {_BLOCK // STEP_NS} points")
        now = now_ns - now_ns % STEP_NS
        lane = self._lanes[0]
        start = self._start(lane, now, length)
        if start - now > LEAD_NS:
            starts = [(self._start(other, now, length), other) for other in self._lanes]
            within = [found for found in starts if found[0] - now <= LEAD_NS]
            start, lane = within[0] if within else min(starts)
        self._marks[lane] = start + length - STEP_NS
        return range(start + self._instance, start + self._instance + length, STEP_NS)

    def _start(self, lane: int, now: int, length: int) -> int:
        """Start of `length` free ns in a lane: from `now` on, or just before the end of the day."""
        mark = self._marks.get(lane, -STEP_NS)
        earliest = max(now, mark + STEP_NS)
        block = earliest // _BLOCK
        if _lane(block) == lane and earliest + length <= (block + 1) * _BLOCK:
            return earliest
        following = _next(block + 1, lane)
        start = following * _BLOCK
        if start // NS_PER_DAY > now // NS_PER_DAY:
            before = (following - (2 << lane) + 1) * _BLOCK - length
            if before > mark and before // NS_PER_DAY == now // NS_PER_DAY:
                return before
        return start


def _lane(block: int) -> int:
    """The lane of a block: the number of trailing ones of its number in binary."""
    return (~block & (block + 1)).bit_length() - 1


def _next(block: int, lane: int) -> int:
    """The first block of a lane that is not before `block`."""
    period = 2 << lane
    return block + ((period >> 1) - 1 - block) % period
