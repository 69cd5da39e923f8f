"""Parser of StatsD's datagrams and lines, with DogStatsD 1.1 to 1.3. Pure.

docs/senders/statsd-wire.md lists the forms of a line and their outcomes. Sources of the formats:
https://github.com/statsd/statsd/blob/master/docs/metric_types.md and
https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from collector.intakes.statsd.drops import Drop, Ignored

COUNTER: Final = b"c"
GAUGE: Final = b"g"
SET: Final = b"s"
METER: Final = b"m"
TIMER: Final = b"ms"
TYPES: Final = frozenset({COUNTER, GAUGE, SET, METER, TIMER, b"h", b"d"})
"""Counter, gauge, set, meter, timer in ms, histogram, distribution."""

MOST_SAMPLES: Final = 10_000
"""Most samples read from one line, and most lines read from one datagram."""
LARGEST: Final = 1e100
"""Largest absolute value; sums of such values stay finite."""
MOST_TAGS: Final = 8
"""Most tags read from one line."""
_SMALLEST_RATE: Final = 1e-9

_NUMBER: Final = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_NUMBER_MAX: Final = 400
_PACKED: Final = frozenset({TIMER, b"h", b"d"})
"""Types of which one line may hold several values, `name:1:2|ms`."""
_MARKS: Final = (b"#", b"T")
_ORIGINS: Final = (b"c:", b"e:", b"card:")
_TAG_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


class Sample(NamedTuple):
    """One sample: type, name and value as sent, weight, and tags.

    `weight` is 1 / sample rate, `rated` whether a sample rate under 1 was sent.
    """

    type: bytes
    name: bytes
    value: bytes
    weight: float = 1.0
    tags: tuple[tuple[str, str], ...] = ()
    rated: bool = False


@dataclass(slots=True)
class Parsed:
    """Contents of a line: samples, drops by reason, and ignored parts."""

    samples: list[Sample] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)


class _Refused(Exception):
    """A sample or the rest of a line is dropped; holds the reason."""

    def __init__(self, drop: Drop) -> None:
        self.drop = drop


def number(text: bytes) -> float | None:
    """Parse a finite number of at most `LARGEST` in size; None for any other text."""
    if len(text) > _NUMBER_MAX or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if -LARGEST <= value <= LARGEST else None


def lines(datagram: bytes) -> Sequence[bytes]:
    """The lines of a datagram, at most one more than `MOST_SAMPLES`.

    Asterisk sends one metric a datagram, and a name or the text of a set may contain line feeds,
    but never `|`. So a line feed ends a line only if a `|` precedes it.
    """
    # A line feed that ends the datagram may also be part of a set's text, before the type.
    text = datagram[:-1] if datagram.endswith(b"\n") else datagram
    last = text.rfind(b"\n")
    if last < 0 or b"|" not in text[:last]:
        return (text,)
    return text.split(b"\n", MOST_SAMPLES)


def parse(line: bytes, prefixes: Iterable[bytes] = ()) -> Parsed:
    """Parse one line. An empty line has no samples; no input raises.

    A name may contain colons; `prefixes` are known beginnings of such names. The text of a set may
    contain colons too: its name ends at the first colon after such a beginning.
    """
    parsed = Parsed()
    line = line.removesuffix(b"\r")
    if line:
        try:
            _parse(line, prefixes, parsed)
        except _Refused as refused:
            parsed.drops.append(refused.drop)
    return parsed


def _parse(line: bytes, prefixes: Iterable[bytes], parsed: Parsed) -> None:
    if line.startswith(b"_e{"):
        raise _Refused(Drop.EVENT)
    if line.startswith(b"_sc|"):
        raise _Refused(Drop.SERVICE_CHECK)
    head, *parts = line.split(b"|")
    if not parts:
        raise _Refused(Drop.MALFORMED)
    if _is_dogstatsd(parts):
        _parse_dogstatsd(head, parts, parsed)
        return
    name: bytes | None = None
    for value, type_, rate in _triples(head, parts):
        try:
            if name is None:
                name, values = _name_and_values(value, type_, prefixes)
            else:
                values = [value]
            _add(parsed, type_, name, values, rate)
        except _Refused as refused:
            parsed.drops.append(refused.drop)


def _is_dogstatsd(parts: Sequence[bytes]) -> bool:
    """Whether a part after the first value is one that only DogStatsD sends."""
    has_value = b":" in parts[0]
    for part in parts[1:]:
        # After a second value, `c:3` is a counter and the third one.
        if part.startswith(_MARKS) or (part.startswith(_ORIGINS) and not has_value):
            return True
        has_value = has_value or b":" in part
    return False


def _triples(head: bytes, parts: Sequence[bytes]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Value, type and rate of each value in `name:1|c|@0.1:2|c`; the first includes the name."""
    value, at = head, 0
    while at < len(parts):
        type_, colon, following = parts[at].partition(b":")
        at += 1
        rate = b""
        if not colon and at < len(parts):
            rate, colon, following = parts[at].partition(b":")
            at += 1
            if not rate.startswith(b"@"):
                raise _Refused(Drop.UNKNOWN_PART)
        yield value, type_, rate
        value = following
        if not colon and at < len(parts):
            raise _Refused(Drop.UNKNOWN_PART)
        if colon and at == len(parts):
            raise _Refused(Drop.MALFORMED)


def _parse_dogstatsd(head: bytes, parts: Sequence[bytes], parsed: Parsed) -> None:
    """Parse a line with parts of DogStatsD: one type, and several values unless it is a set."""
    type_ = parts[0]
    rate = b""
    tags: dict[str, str] = {}
    for part in parts[1:]:
        if part.startswith(b"@"):
            rate = part
        elif part.startswith(b"#"):
            _take_tags(part[1:], tags, parsed)
        elif part.startswith(b"T"):
            parsed.ignored.append(Ignored.TIMESTAMP)
        elif part.startswith(_ORIGINS):
            parsed.ignored.append(Ignored.ORIGIN)
        else:
            raise _Refused(Drop.UNKNOWN_PART)
    name, colon, values = head.partition(b":")
    if not name or not colon:
        raise _Refused(Drop.MALFORMED)
    packed = [values] if type_ == SET else values.split(b":")
    _add(parsed, type_, name, packed, rate, tuple(sorted(tags.items())))


def _name_and_values(
    head: bytes, type_: bytes, prefixes: Iterable[bytes]
) -> tuple[bytes, list[bytes]]:
    """Split the text before the first `|` into a name and its values."""
    if type_ == SET:
        start = max((len(one) for one in prefixes if head.startswith(one)), default=0)
        at = head.find(b":", start)
        if at < 0:
            at = head.find(b":")
    elif type_ in _PACKED and (first := head.find(b":")) >= 0:
        values = head[first + 1 :].split(b":")
        # Either only numbers follow the first colon, or the name itself contains colons.
        at = first if all(map(_NUMBER.fullmatch, values)) else head.rfind(b":")
    else:
        at = head.rfind(b":")
    if at <= 0:
        raise _Refused(Drop.MALFORMED)
    rest = head[at + 1 :]
    return head[:at], rest.split(b":") if type_ in _PACKED else [rest]


def _add(
    parsed: Parsed,
    type_: bytes,
    name: bytes,
    values: Sequence[bytes],
    rate: bytes,
    tags: tuple[tuple[str, str], ...] = (),
) -> None:
    weight, rated = _weight(rate, type_, parsed)
    if type_ not in TYPES:
        raise _Refused(Drop.UNKNOWN_TYPE if type_ else Drop.MALFORMED)
    room = MOST_SAMPLES - len(parsed.samples)
    if len(values) > room:
        parsed.drops += [Drop.TOO_LONG] * (len(values) - room)
    for value in values[:room]:
        if type_ != SET and number(value) is None:
            parsed.drops.append(Drop.BAD_VALUE)
        else:
            parsed.samples.append(Sample(type_, name, value, weight, tags, rated))


def _weight(rate: bytes, type_: bytes, parsed: Parsed) -> tuple[float, bool]:
    """Weight of a sample (1 / rate), and whether a rate under 1 was sent."""
    if not rate:
        return 1.0, False
    value = number(rate[1:])
    if value is None or value < 0 or 0 < value < _SMALLEST_RATE:
        raise _Refused(Drop.BAD_RATE)
    if type_ in (GAUGE, SET):
        parsed.ignored.append(Ignored.GAUGE_RATE)
        return 1.0, value < 1
    if value == 0:
        # Asterisk writes two digits: any rate under 0.005 becomes 0.00.
        parsed.ignored.append(Ignored.ZERO_RATE)
        return 1.0, True
    # A rate over 1 has no meaning.
    return 1.0 / min(value, 1.0), value < 1


def _take_tags(text: bytes, tags: dict[str, str], parsed: Parsed) -> None:
    for piece in text.decode(errors="replace").split(","):
        # Some clients repeat the `#`.
        key, colon, value = piece.removeprefix("#").partition(":")
        if not piece:
            continue
        if colon and value and _TAG_KEY.fullmatch(key) and (key in tags or len(tags) < MOST_TAGS):
            tags[key] = value
        else:
            parsed.ignored.append(Ignored.BAD_TAG)
