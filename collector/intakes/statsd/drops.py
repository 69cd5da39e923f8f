"""Reasons for which the StatsD intake drops or ignores parts of its input, and counters. Pure.

Metrics, logs and `collector statsd try` use the same names.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Drop(StrEnum):
    """Reasons why a sample or a complete line is dropped."""

    MALFORMED = "malformed"
    """The line has no name, no value or no type."""
    BAD_VALUE = "bad-value"
    """The value is not a number that can be stored."""
    BAD_RATE = "bad-rate"
    """The sample rate is not a number, or is negative."""
    UNKNOWN_TYPE = "unknown-type"
    """The type is none of c, g, ms, s, m, h, d."""
    UNKNOWN_PART = "unknown-part"
    """A part after the type is not one of DogStatsD's."""
    NEGATIVE_TIME = "negative-time"
    """A time of type ms is negative, and does not stand for an unanswered round trip."""
    EVENT = "event"
    """A DogStatsD event."""
    SERVICE_CHECK = "service-check"
    """A DogStatsD service check."""
    MAPPED = "mapped-away"
    """A rule of the mapping file drops the name."""
    OVER_BUDGET = "over-budget"
    """The name or the value of a tag is new, and the budget is used up."""
    TYPE_CONFLICT = "type-conflict"
    """A rule of the mapping file maps metrics of different types to one series."""
    TOO_LONG = "too-long"
    """A datagram holds more samples than the limit."""


class Ignored(StrEnum):
    """Parts of a line that are ignored although its sample is stored."""

    TIMESTAMP = "timestamp"
    """The time of a DogStatsD 1.3 sample; the time of its arrival is used instead."""
    ORIGIN = "origin"
    """The container or process that sent it (`c:`, `e:`, `card:`)."""
    BAD_TAG = "bad-tag"
    """A tag without a value, with a reserved or invalid name, or over the number of tags."""
    ZERO_RATE = "zero-rate"
    """A sample rate of 0, because the real one was too small to write; the sample counts once."""
    GAUGE_RATE = "gauge-rate"
    """A sample rate of a gauge or a set, where it has no meaning."""
    AS_OTHER = "as-other"
    """The name or tags of a counter or timer over its budget: it is stored as `other`."""


@dataclass(slots=True)
class Counts:
    """Counters of one Asterisk since the start of the collector; they only rise.

    `samples` counts accepted samples, `drops` and `ignored` count by reason, `underflows` changes
    that would have made a gauge of things negative, `restarts` recognised starts of the Asterisk,
    `meter_support` samples that Asterisk's inverted option `meter_support=no` has renamed.
    """

    samples: int = 0
    drops: Counter[Drop] = field(default_factory=Counter)
    ignored: Counter[Ignored] = field(default_factory=Counter)
    underflows: int = 0
    restarts: int = 0
    meter_support: int = 0
