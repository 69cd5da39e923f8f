"""Measurements of the live database from Asterisk's StatsD.

There is one point a series and flush, with the tag `asterisk`; its time is the end of the flush.
"""

from __future__ import annotations

from typing import Final

from collector.schema.kinds import Field, FieldType, Measurement, Tag, counted

LIVE: Final = "asterisk_live"
"""The operators' database of live values of each Asterisk."""

ASTERISK: Final = Tag("asterisk", "name of the Asterisk, as the operator gave it")
_FLUSH_TIME: Final = "the end of the flush, a multiple of its interval, plus the instance in ns"
UNCERTAIN: Final = "uncertain"
"""Field of a gauge that may be wrong; a gauge that is right lacks it."""
MAY_BE_WRONG: Final = counted(
    UNCERTAIN, "s", "for how long the value may have been wrong; absent where it is right"
)


def number(name: str, unit: str, meaning: str) -> Field:
    """A field that holds any number."""
    return Field(name, FieldType.FLOAT, unit, meaning)


def live(name: str, tags: tuple[Tag, ...], *fields: Field) -> Measurement:
    """A measurement of the live database; the tag `asterisk` is added."""
    return Measurement(LIVE, name, _FLUSH_TIME, (ASTERISK, *tags), fields)


def _gauge(name: str, tags: tuple[Tag, ...], value: Field) -> Measurement:
    return live(name, tags, value, MAY_BE_WRONG)


_NAME = Tag("name", "name of the metric as it was sent, or as a mapping gave it")
_ALL = "`all` for their total"

_TIMES = (
    number("count", "values", "values in the flush, scaled by their sample rate"),
    number("sum", "ms", "their sum, scaled by the sample rate; absent where there is no value"),
    number("mean", "ms", "their mean; absent where there is no value"),
    number("min", "ms", "the smallest; absent where there is no value"),
    number("max", "ms", "the largest; absent where there is no value"),
    number("p50", "ms", "median; absent where there is no value"),
    number("p90", "ms", "90th percentile; absent where there is no value"),
    number("p99", "ms", "99th percentile; absent where there is no value"),
    counted(
        "approximate",
        "values",
        "how many came, where they were so many that the percentiles are within 1 %; else absent",
    ),
)

STATSD_GAUGE = _gauge("statsd_gauge", (_NAME,), number("value", "", "the gauge's value"))
STATSD_COUNTER = live(
    "statsd_counter",
    (_NAME,),
    number("value", "", "sum of the increments in the flush, scaled by their sample rate"),
)
STATSD_TIMER = live("statsd_timer", (_NAME,), *_TIMES)
STATSD_SET = live(
    "statsd_set",
    (_NAME,),
    number("count", "values", "distinct values in the flush; above 4096 within some %"),
)
STATSD_TRAFFIC = live(
    "statsd_traffic",
    (),
    counted("samples", "samples", "samples taken in the flush"),
    counted(
        "dropped",
        "samples",
        "samples dropped in the flush, but for those that a rule of the mapping drops",
    ),
    counted("underflows", "", "times a gauge of things would have fallen under 0"),
    counted("restarts", "", "starts of Asterisk recognised in the flush"),
    counted("uncertain", "gauges", "gauges that may be wrong at the end of the flush"),
    counted("silent", "s", "time since its last datagram; absent where none has come yet"),
)

CHANNELS = _gauge("channels", (), number("count", "channels", "channels alive"))
ENDPOINTS = _gauge(
    "endpoints",
    (Tag("state", f"`online`, `offline`, `unknown`, or {_ALL}"),),
    number("count", "endpoints", "endpoints in that state"),
)
ENDPOINT_CHANNELS = _gauge(
    "endpoint_channels",
    (Tag("endpoint", "technology and name of the endpoint, as `PJSIP/alice`"),),
    number("count", "channels", "channels of that endpoint"),
)
PJSIP_CONTACTS = _gauge(
    "pjsip_contacts",
    (Tag("state", "`Reachable`, `Unreachable`, `Unknown`, `NonQualified` or `Removed`"),),
    number("count", "contacts", "contacts in that state; of `Removed`, those since Asterisk began"),
)
_ROUND_TRIPS = (
    *_TIMES,
    counted("unreachable", "values", "OPTIONS without an answer in the flush"),
    counted("first", "values", "first round trips after a start, left out of all the others"),
)
PJSIP_RTT = live("pjsip_rtt", (Tag("aor", "address of record of the contact"),), *_ROUND_TRIPS)
PJSIP_RTT_ALL = live("pjsip_rtt_all", (), *_ROUND_TRIPS)
"""Round trips of all contacts together, whose quantiles cannot be computed from each contact's."""
PJSIP_REGISTRATIONS = _gauge(
    "pjsip_registrations",
    (Tag("state", f"`Registered`, `Unregistered`, `Rejected`, or {_ALL}"),),
    number("count", "registrations", "outbound registrations in that state"),
)

STATSD_MEASUREMENTS: Final = (
    STATSD_GAUGE,
    STATSD_COUNTER,
    STATSD_TIMER,
    STATSD_SET,
    STATSD_TRAFFIC,
    CHANNELS,
    ENDPOINTS,
    ENDPOINT_CHANNELS,
    PJSIP_CONTACTS,
    PJSIP_RTT,
    PJSIP_RTT_ALL,
    PJSIP_REGISTRATIONS,
)
"""Measurements that the StatsD intake writes."""
