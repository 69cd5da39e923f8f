"""The alerts about Asterisk: what its StatsD and its manager interface tell, against bounds.

Every query is of the last points of a flush or of a fixed time before, never of the whole database.
"""

from __future__ import annotations

from typing import Final

from collector.schema.live import (
    ASTERISK,
    PJSIP_CONTACTS,
    PJSIP_REGISTRATIONS,
    PJSIP_RTT,
    STATSD_TRAFFIC,
)
from tools.dashboards.alerts_bounds import RTT_BOUND_MS, SILENT_S
from tools.dashboards.rules import Rule, compared, shown, stored

_MINUTE: Final = 60
_NOW: Final = 2 * _MINUTE
_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR
_BY: Final = f'GROUP BY "{ASTERISK.name}"'
_AT: Final = "{{ .Labels.asterisk }}"


def _from(measurement: str, condition: str = "") -> str:
    return f'"{measurement}" WHERE $timeFilter' + (f" AND {condition}" if condition else "")


def _states(measurement: str, condition: str) -> str:
    """The sum of the last counts of all states that a condition names, by Asterisk."""
    return (
        f'SELECT sum("count") FROM (SELECT last("count") AS "count" FROM'
        f' {_from(measurement, condition)} {_BY}, "state") WHERE $timeFilter {_BY}'
    )


_GONE: Final = _from(PJSIP_CONTACTS.name, "\"state\" = 'Unreachable'")
CONTACTS_UNREACHABLE: Final = compared(
    "ContactsUnreachable",
    "warning",
    f"{_AT}: {shown('now')} PJSIP contacts do not answer, of {shown('contacts')};"
    f" {shown('usual')} are usual.",
    stored("now", f'SELECT last("count") FROM {_GONE} {_BY}', _NOW),
    stored("usual", f'SELECT median("count") FROM {_GONE} {_BY}', _DAY, 15 * _MINUTE),
    stored("contacts", _states(PJSIP_CONTACTS.name, "\"state\" != 'Removed'"), _NOW),
    firing="($now - $usual >= 2) && ($now - $usual > 0.1 * $contacts)",
    lasting="3m",
)

REGISTRATION_LOST: Final = compared(
    "RegistrationLost",
    "critical",
    f"{_AT}: {shown('lost')} outbound registrations are not registered.",
    stored(
        "lost", _states(PJSIP_REGISTRATIONS.name, '"state" =~ /^(Unregistered|Rejected)$/'), _NOW
    ),
    firing="$lost > 0",
    lasting="2m",
)

ROUND_TRIP_SLOW: Final = compared(
    "RoundTripSlow",
    "warning",
    f"{_AT}: nine in ten round trips to contacts take up to {shown('p90')} ms.",
    stored(
        "p90",
        f'SELECT percentile("p90", 90) FROM {_from(PJSIP_RTT.name)} {_BY}',
        15 * _MINUTE,
    ),
    stored("times", f'SELECT sum("count") FROM {_from(PJSIP_RTT.name)} {_BY}', 15 * _MINUTE),
    # Of a few round trips one is the slow one.
    firing=f"($p90 > {RTT_BOUND_MS}) && ($times >= 10)",
    lasting="5m",
)

_SILENT: Final = _from(STATSD_TRAFFIC.name)
ASTERISK_SILENT: Final = compared(
    "AsteriskSilent",
    "critical",
    f"{_AT} has sent no datagram for {shown('silent')} seconds.",
    stored("silent", f'SELECT last("silent") FROM {_SILENT} {_BY}', _NOW),
    # Four fifths of the time in a week no silence was longer. Nights and weekends of an Asterisk
    # that sends on calls alone are in it; an outage is not, for the first days.
    stored("usual", f'SELECT percentile("silent", 80) FROM {_SILENT} {_BY}', 7 * _DAY),
    firing=f"($silent > {SILENT_S}) && ($silent > 3 * $usual)",
    lasting="0s",
)

DATAGRAMS_DROPPED: Final = compared(
    "DatagramsDropped",
    "warning",
    f"{_AT}: {shown('dropped')} samples of StatsD were dropped in 10 minutes,"
    f" {shown('taken')} taken.",
    stored("dropped", f'SELECT sum("dropped") FROM {_SILENT} {_BY}', 10 * _MINUTE),
    stored("taken", f'SELECT sum("samples") FROM {_SILENT} {_BY}', 10 * _MINUTE),
    firing="($dropped >= 10) && ($dropped > 0.01 * ($dropped + $taken))",
    lasting="5m",
)

STATSD: Final[tuple[Rule, ...]] = (
    CONTACTS_UNREACHABLE,
    REGISTRATION_LOST,
    ROUND_TRIP_SLOW,
    DATAGRAMS_DROPPED,
)
"""Rules over StatsD that are cheap to evaluate."""
SILENCE: Final[tuple[Rule, ...]] = (ASTERISK_SILENT,)
"""Rules that read a week."""
