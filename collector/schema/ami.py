"""Measurements of the live database from Asterisk's manager interface (AMI).

There is one point a series and flush, with the tag `asterisk`. A count covers its flush alone, so
that sums over any time are right. A point of zeros alone is written for series that always exist,
but not for series of an outcome, a cause or a kind.
"""

from __future__ import annotations

from typing import Final

from collector.schema.kinds import Field, Tag, counted, text
from collector.schema.live import MAY_BE_WRONG, live, number

QUANTILES: Final = ("p50", "p90", "p99")
"""Percentiles in the names of fields: the median, and those above it."""


def _spread(name: str, unit: str, meaning: str) -> tuple[Field, ...]:
    """Fields of the distribution of a value within a flush, absent if there is no value."""
    return (
        number(f"{name}_p50", unit, f"{meaning}: median; absent where there is none"),
        number(f"{name}_p90", unit, f"{meaning}: 90th percentile"),
        number(f"{name}_p99", unit, f"{meaning}: 99th percentile"),
        number(f"{name}_max", unit, f"{meaning}: the largest"),
    )


_TRUNK = Tag("trunk", "name that the operator gave the trunk, or `none`")
_DIRECTION = Tag(
    "direction",
    "of a call: `in` from a trunk, `out` to one, `internal`; `unknown` where no trunk is named",
)

CALLS = live(
    "calls",
    (
        _DIRECTION,
        _TRUNK,
        Tag(
            "outcome",
            "only with `ended` and `attempts`: `answered`, `busy`, `no_answer`, `cancelled`,"
            " `failed`, or `lost` (ended while the connection was away)",
        ),
        Tag("cause", "only with `outcome`: hangup cause (Q.850), such as `16`, or `other`"),
        Tag("tech_cause", "only with `outcome`: SIP status, such as `503`, or `none`"),
    ),
    counted("calls", "calls", "calls now: channels that began together count once"),
    counted("channels", "channels", "channels now, as `core show channels` counts them"),
    counted("started", "calls", "calls that began in the flush"),
    counted("answered", "calls", "calls answered in the flush"),
    *_spread("ring", "s", "time from the beginning of a call to its answer"),
    counted("talks", "calls", "answered calls that ended in the flush"),
    number("talk_sum", "s", "their time from answer to end, together"),
    *_spread("talk", "s", "time from the answer of a call to its end"),
    counted("ended", "calls", "calls that ended in the flush with that outcome and cause"),
    counted(
        "attempts",
        "attempts",
        "outgoing legs that ended in the flush with that outcome and cause; a call may have"
        " several",
    ),
    MAY_BE_WRONG,
)

_QUEUE = Tag("queue", "name of the queue", 200)
QUEUES = live(
    "queues",
    (_QUEUE,),
    counted("waiting", "callers", "callers waiting now"),
    number("longest_wait", "s", "how long the caller who waits longest has waited; 0: nobody"),
    counted("entered", "callers", "callers who entered in the flush"),
    counted("answered", "callers", "callers connected to an agent"),
    counted("abandoned", "callers", "callers who hung up while they waited"),
    counted(
        "timed_out",
        "callers",
        "callers who left the queue for the dialplan without a key: its time was over, mostly",
    ),
    counted("left_by_key", "callers", "callers who left the queue by a key"),
    counted("lost", "callers", "callers who left while the connection was away"),
    counted("completed", "callers", "talks with an agent that ended"),
    counted("unanswered", "calls", "calls to an agent that nobody answered"),
    counted("service_level", "s", "the queue's service level; absent where unknown"),
    counted("within", "callers", "answered callers who waited no longer than that"),
    counted("abandoned_within", "callers", "abandoned ones who waited no longer than that"),
    *_spread("wait", "s", "time that answered callers waited"),
    *_spread("gave_up", "s", "time that callers who gave up waited"),
    number("talk_sum", "s", "time of all talks that ended, together"),
    *_spread("talk", "s", "time of a talk with an agent"),
    counted("members", "agents", "agents of the queue"),
    counted("available", "agents", "agents who can take a call now: idle and not paused"),
    MAY_BE_WRONG,
)

AGENTS = live(
    "agents",
    (
        _QUEUE,
        Tag(
            "state",
            "`available`, `ringing`, `in_use`, `on_hold`, `busy`, `paused`, `unavailable` or"
            " `unknown`; paused agents are `paused` whatever their phone does",
        ),
        Tag("agent", "name that the operator gave an agent; only in points of that agent"),
    ),
    counted("count", "agents", "agents of the queue in that state; not in points of one agent"),
    text("status", "the one agent's state, as the tag `state` has it"),
    counted("answered", "calls", "calls that the one agent took from the queue in the flush"),
    counted("unanswered", "calls", "calls that the one agent did not answer"),
    number("talk_sum", "s", "time of the one agent's talks that ended, together"),
    MAY_BE_WRONG,
)

CONFERENCES = live(
    "conferences",
    (Tag("conference", "name that the operator gave a conference; else absent"),),
    counted("rooms", "conferences", "conferences now; not in points of one conference"),
    counted("people", "people", "people in all of them; not in points of one conference"),
    counted("largest", "people", "people in the largest; not in points of one conference"),
    counted("joined", "people", "people who joined any in the flush; not in those points"),
    counted("present", "people", "people in the one conference"),
    MAY_BE_WRONG,
)

RTP = live(
    "rtp",
    (
        Tag(
            "direction",
            "`received`: what Asterisk got, by its reports; `sent`: what the far end got, by its"
            " reports. A loss may appear on both legs of a call",
        ),
        _TRUNK,
    ),
    counted("reports", "reports", "RTCP reports in the flush"),
    *_spread("loss", "ratio", "share of the packets lost since the report before, 0 to 1"),
    *_spread("jitter", "s", "interarrival jitter, of a clock of 8000 Hz"),
    *_spread("rtt", "s", "round trip; only of `sent`, without each channel's first"),
    number("mes_p50", "", "media experience score of Asterisk, 0 to 100: median"),
    number("mes_min", "", "the worst such score"),
)

SECURITY = live(
    "security",
    (
        Tag("kind", "name of Asterisk's security event, such as `InvalidPassword`"),
        Tag("service", "what was asked: `PJSIP`, `AMI`, ...", 20),
    ),
    counted("count", "events", "events in the flush"),
)

DTMF = live(
    "dtmf",
    (Tag("direction", "`received` from a channel, or `sent` to it"),),
    counted("count", "keys", "keys in the flush; which ones is not stored"),
)

USER_EVENTS = live(
    "user_events",
    (Tag("name", "name of the dialplan's metric", 200),),
    counted("count", "events", "events in the flush, of any type"),
    number("sum", "", "sum of a counter's values; absent where there is none"),
    number("value", "", "last value of a gauge; absent where none came in the flush"),
    *_spread("timer", "", "value of a timer, in the unit of the dialplan"),
)

_IAX2_STATE: Final = "`Registered`, `Unregistered`, `Rejected`, `Request Sent`, ..."
IAX2_PEERS = live(
    "iax2_peers",
    (Tag("state", "`reachable`, `unreachable`, `unmonitored` or `unknown`"),),
    counted("count", "peers", "IAX2 peers in that state"),
    MAY_BE_WRONG,
)
IAX2_REGISTRATIONS = live(
    "iax2_registrations",
    (Tag("state", _IAX2_STATE, 20),),
    counted("count", "registrations", "outbound IAX2 registrations in that state"),
    MAY_BE_WRONG,
)

TRUNKS = live(
    "trunks",
    (Tag("trunk", "name that the operator gave the trunk"),),
    counted(
        "up",
        "",
        "1 where an endpoint of the trunk can be reached, else 0; absent where Asterisk does"
        " not tell",
    ),
)

AMI_TRAFFIC = live(
    "ami_traffic",
    (),
    counted("connected", "", "1 where the collector is logged in at the end of the flush"),
    counted("events", "events", "events taken in the flush"),
    counted("dropped", "events", "events left out in the flush, for any reason"),
    number(
        "gap",
        "s",
        "time of the flush in which nothing could be counted; where it is above 0, counts are"
        " too low",
    ),
    counted("restarts", "", "starts of Asterisk seen in the flush"),
)

AMI_MEASUREMENTS: Final = (
    CALLS,
    QUEUES,
    AGENTS,
    CONFERENCES,
    RTP,
    SECURITY,
    DTMF,
    USER_EVENTS,
    IAX2_PEERS,
    IAX2_REGISTRATIONS,
    TRUNKS,
    AMI_TRAFFIC,
)
"""Measurements that only the AMI intake writes; it also writes `endpoints`, `pjsip_contacts` and
`pjsip_registrations` of the StatsD intake."""
