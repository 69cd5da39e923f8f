"""The alerts about Asterisk: what its StatsD and its manager interface tell, against bounds.

Every query is of the last points of a flush or of a fixed time before, never of the whole database.
"""

from __future__ import annotations

from typing import Final

from collector.schema.ami import (
    AGENTS,
    AMI_TRAFFIC,
    CALLS,
    IAX2_REGISTRATIONS,
    QUEUES,
    RTP,
    SECURITY,
    TRUNKS,
)
from collector.schema.live import (
    ASTERISK,
    PJSIP_CONTACTS,
    PJSIP_REGISTRATIONS,
    PJSIP_RTT_ALL,
    STATSD_TRAFFIC,
)
from tools.dashboards.alerts_bounds import (
    ABANDONED_BOUND,
    LOSS_BOUND,
    RTT_BOUND_MS,
    SILENT_S,
    WAIT_BOUND_S,
    WRONG_PASSWORDS,
    WRONG_PASSWORDS_MOST,
)
from tools.dashboards.rules import Math, Node, Rule, compared, metric, shown, stored

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


def _registration(title: str, kind: str, measurement: str, states: str) -> Rule:
    """A rule about outbound registrations of a kind, of which any is in one of these states."""
    return compared(
        title,
        "critical",
        f"{_AT}: {shown('lost')} outbound {kind} registrations are not registered.",
        stored("lost", _states(measurement, f'"state" =~ /^({states})$/'), _NOW),
        firing="$lost > 0",
        lasting="2m",
    )


REGISTRATION_LOST: Final = _registration(
    "RegistrationLost", "PJSIP", PJSIP_REGISTRATIONS.name, "Unregistered|Rejected"
)
# A registration that is under way is sent or authenticated; it is lost when that takes 2 minutes.
IAX2_REGISTRATION_LOST: Final = _registration(
    "Iax2RegistrationLost",
    "IAX2",
    IAX2_REGISTRATIONS.name,
    "Unregistered|Rejected|Request Sent|Auth Sent|Timeout|No Authentication",
)

ROUND_TRIP_SLOW: Final = compared(
    "RoundTripSlow",
    "warning",
    f"{_AT}: nine in ten round trips to contacts take up to {shown('p90')} ms.",
    stored(
        "p90",
        f'SELECT percentile("p90", 90) FROM {_from(PJSIP_RTT_ALL.name)} {_BY}',
        15 * _MINUTE,
    ),
    stored("times", f'SELECT sum("count") FROM {_from(PJSIP_RTT_ALL.name)} {_BY}', 15 * _MINUTE),
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

_DROPPED: Final = "collector_statsd_dropped_total"
DATAGRAMS_DROPPED: Final = compared(
    "DatagramsDropped",
    "warning",
    f"{shown('dropped')} samples or datagrams of StatsD were dropped in 10 minutes, for the reason"
    f" {{{{ .Labels.reason }}}}; {shown('taken')} samples were taken.",
    # What a rule of the mapping drops is meant to be.
    metric("dropped", f'sum by (reason) (increase({_DROPPED}{{reason!="mapped-away"}}[10m]))'),
    metric("taken", "sum(increase(collector_statsd_samples_total[10m])) or vector(0)"),
    firing="($dropped >= 10) && ($dropped > 0.01 * ($dropped + $taken))",
    lasting="5m",
)

_QUEUE: Final = f'GROUP BY "{ASTERISK.name}", "queue"'
_AT_QUEUE: Final = f"{_AT}, queue {{{{ .Labels.queue }}}}"


def _queue(name: str, expression: str, since: int) -> tuple[Node, ...]:
    return stored(name, f"SELECT {expression} FROM {_from(QUEUES.name)} {_QUEUE}", since)


QUEUE_LONGEST_WAIT: Final = compared(
    "QueueLongestWait",
    "critical",
    f"{_AT_QUEUE}: a caller has waited for {shown('longest')} seconds; {shown('waiting')} wait.",
    _queue("longest", 'last("longest_wait")', _NOW),
    _queue("waiting", 'last("waiting")', _NOW),
    firing=f"$longest > {WAIT_BOUND_S}",
    lasting="0s",
)

QUEUE_ABANDONED: Final = compared(
    "QueueAbandoned",
    "warning",
    f"{_AT_QUEUE}: {shown('abandoned')} of {shown('left')} callers have given up in half an hour.",
    _queue("abandoned", 'sum("abandoned")', _HOUR // 2),
    _queue(
        "left",
        'sum("answered") + sum("abandoned") + sum("timed_out") + sum("left_by_key")',
        _HOUR // 2,
    ),
    # Of fewer callers one is a big share.
    firing=f"($left >= 10) && ($abandoned > {ABANDONED_BOUND} * $left)",
    lasting="5m",
)

_PRESENT: Final = '"state" =~ /^(available|ringing|in_use|on_hold|busy)$/'
QUEUE_NO_AGENT: Final = compared(
    "QueueNoAgent",
    "critical",
    f"{_AT_QUEUE}: {shown('waiting')} callers wait, and no agent is there.",
    _queue("waiting", 'last("waiting")', _NOW),
    stored(
        "present",
        'SELECT sum("count") FROM (SELECT last("count") AS "count" FROM'
        f' {_from(AGENTS.name, _PRESENT)} {_QUEUE}, "state") WHERE $timeFilter {_QUEUE}',
        _NOW,
    ),
    firing="($waiting > 0) && ($present < 1)",
    lasting="2m",
)

TRUNK_LOST: Final = compared(
    "TrunkLost",
    "critical",
    f"{_AT}: the trunk {{{{ .Labels.trunk }}}} cannot be reached.",
    stored(
        "up",
        f'SELECT last("up") FROM {_from(TRUNKS.name)} GROUP BY "{ASTERISK.name}", "trunk"',
        _NOW,
    ),
    firing="$up < 1",
    lasting="2m",
)

_WAY: Final = f'GROUP BY "{ASTERISK.name}", "trunk", "direction"'
SPEECH_LOST: Final = compared(
    "SpeechLost",
    "warning",
    f"{_AT}, trunk {{{{ .Labels.trunk }}}}, {{{{ .Labels.direction }}}}: {shown('loss', '%.3f')} of"
    " the packets of speech are lost.",
    stored("loss", f'SELECT median("loss_p90") FROM {_from(RTP.name)} {_WAY}', 5 * _MINUTE),
    stored("reports", f'SELECT sum("reports") FROM {_from(RTP.name)} {_WAY}', 5 * _MINUTE),
    firing=f"($loss > {LOSS_BOUND}) && ($reports >= 20)",
    lasting="3m",
)

WRONG_PASSWORDS_BURST: Final = compared(
    "WrongPasswords",
    "warning",
    f"{_AT}, {{{{ .Labels.service }}}}: {shown('wrong')} wrong passwords and unknown accounts in 5"
    " minutes.",
    stored(
        "wrong",
        f'SELECT sum("count") FROM {_from(SECURITY.name, WRONG_PASSWORDS)}'
        f' GROUP BY "{ASTERISK.name}", "service"',
        5 * _MINUTE,
    ),
    firing=f"$wrong >= {WRONG_PASSWORDS_MOST}",
    lasting="0s",
)

_CONNECTED: Final = _from(AMI_TRAFFIC.name)
AMI_AWAY: Final = compared(
    "AmiAway",
    "critical",
    f"{_AT}: the collector is not logged in to its manager interface.",
    stored("connected", f'SELECT last("connected") FROM {_CONNECTED} {_BY}', _NOW),
    firing="$connected < 1",
    lasting="2m",
)


_DAYS: Final = {"yesterday": 1, "week": 7, "fortnight": 14}
_AROUND: Final = {"": 0, "_before": 1, "_after": -1}
"""Hours that are compared: clocks may have been set since, so that the hour is a neighbour."""


def _started(name: str, hours: int) -> tuple[Node, ...]:
    """Calls begun in an hour, as many hours ago."""
    ago = hours * _HOUR
    return stored(name, f'SELECT sum("started") FROM {_from(CALLS.name)} {_BY}', ago + _HOUR, ago)


def _under(was: str) -> str:
    # Four standard deviations of a count: few calls an hour prove nothing.
    return f"(${was} - $calls > 0.5 * ${was}) && (${was} - $calls > 4 * (${was} ** 0.5))"


CALLS_BELOW_USUAL: Final = compared(
    "CallsBelowUsual",
    "warning",
    f"{_AT}: {shown('calls')} calls in an hour; {shown('yesterday')} at this time yesterday,"
    f" {shown('week')} a week ago, {shown('fortnight')} two weeks ago.",
    _started("calls", 0),
    *(
        _started(f"{day}{end}", 24 * days + shift)
        for day, days in _DAYS.items()
        for end, shift in _AROUND.items()
    ),
    # An hour in which the connection was away has too few.
    stored("connected", f'SELECT min("connected") FROM {_CONNECTED} {_BY}', _HOUR),
    # Two of three: the same as under the median, whichever day was a holiday.
    Math(
        "days",
        " + ".join(f"({' && '.join(_under(f'{day}{end}') for end in _AROUND)})" for day in _DAYS),
    ),
    firing="($days >= 2) && ($connected > 0)",
    lasting="10m",
)

AMI: Final[tuple[Rule, ...]] = (
    IAX2_REGISTRATION_LOST,
    QUEUE_LONGEST_WAIT,
    QUEUE_ABANDONED,
    QUEUE_NO_AGENT,
    TRUNK_LOST,
    SPEECH_LOST,
    WRONG_PASSWORDS_BURST,
    AMI_AWAY,
)
"""Rules over the manager interface that read the last minutes."""
STATSD: Final[tuple[Rule, ...]] = (
    CONTACTS_UNREACHABLE,
    REGISTRATION_LOST,
    ROUND_TRIP_SLOW,
    DATAGRAMS_DROPPED,
)
"""Rules over StatsD that are cheap to evaluate."""
USUAL: Final[tuple[Rule, ...]] = (ASTERISK_SILENT, CALLS_BELOW_USUAL)
"""Rules that compare with the days before."""
