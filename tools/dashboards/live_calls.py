"""Calls of each Asterisk, as its manager interface tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from collector.schema.ami import AMI_TRAFFIC, CALLS, CONFERENCES, DTMF, USER_EVENTS
from tools.dashboards.colours import painted
from tools.dashboards.kinds import bars
from tools.dashboards.live_parts import (
    LAST_HOUR,
    MOST_SERIES,
    NOW,
    RECENT,
    apart,
    drawn,
    each,
    figure,
    live,
    live_board,
    names,
    no_trunk,
    over_time,
    per_minute,
    quantiles,
    ratio,
    source,
    summed,
    total_now,
)
from tools.dashboards.meanings import BLUE, GREEN, GREY, MAUVE, ORANGE, PURPLE, RED
from tools.dashboards.model import ASTERISK_LIVE, Override
from tools.dashboards.variables import asked

_ROUTE: Final = ("direction", "trunk")
_METRIC: Final = '"name" =~ /^${metric:regex}$/'
_NAMED: Final = "\"conference\" != ''"
_LATER: Final = "1m"
_FAILED: Final = "\"outcome\" = 'failed'"
OUTCOMES: Final = (
    painted("answered", GREEN),
    painted("busy", ORANGE),
    painted("no_answer", MAUVE),
    painted("cancelled", GREY),
    painted("failed", RED),
    painted("lost", PURPLE),
)
"""One colour for each way in which a call ends."""
DIRECTIONS: Final = (
    painted("in", BLUE),
    painted("out", ORANGE),
    painted("internal", GREEN),
    painted("unknown", GREY),
)
_BLUE_BARS: Final = (
    Override("byRegexp", "/.*/", {"color": {"mode": "fixed", "fixedColor": BLUE}}),
)
_CAUSES: Final = {
    "0": "time was over",
    "1": "unassigned",
    "16": "normal",
    "17": "busy",
    "18": "no reply",
    "19": "no answer",
    "20": "not registered",
    "21": "refused",
    "26": "answered elsewhere",
    "27": "destination away",
    "34": "no circuit",
    "38": "network fails",
    "41": "failure for now",
    "44": "no channel",
    "58": "not available",
    "88": "incompatible",
    "102": "timer ran out",
    "127": "interworking",
}
"""Words for the usual hangup causes of Q.850."""
_STATUSES: Final = {
    "401": "unauthorized",
    "403": "forbidden",
    "404": "not found",
    "408": "timed out",
    "480": "not available",
    "484": "incomplete number",
    "486": "busy",
    "487": "cancelled",
    "488": "not acceptable",
    "500": "server's error",
    "502": "bad gateway",
    "503": "unavailable",
    "600": "busy everywhere",
    "603": "declined",
}
"""Words for the usual statuses of SIP, after RFC 3261."""


def _named(words: Mapping[str, str]) -> tuple[Override, ...]:
    """Bars of numbers, with words beside the numbers that are known."""
    return tuple(
        Override("byName", number, {"displayName": f"{number} {word}"})
        for number, word in words.items()
    )


UNCOUNTED: Final = drawn(
    "Seconds a minute not counted",
    "Seconds of each minute in which the collector was not logged in, or Asterisk restarted: counts"
    " of that time are too low.",
    per_minute(AMI_TRAFFIC.name, "gap", "$tag_asterisk", tag="asterisk"),
    unit="s",
    interval=_LATER,
)
"""Where the connection was away; it belongs to every dashboard whose panels count events."""

CALLS_BOARD: Final = live_board(
    "asterisk-calls",
    "Calls",
    "Calls of each Asterisk: how many now, how they end, how long they ring and last.",
    (
        figure(
            "Calls now",
            "Calls now: channels that began together count once.",
            total_now(CALLS.name, "calls", tags=_ROUTE),
            no_value="not known",
        ),
        figure(
            "Channels now",
            "Channels now, as `core show channels` counts them.",
            total_now(CALLS.name, "channels", tags=_ROUTE),
            no_value="not known",
        ),
        figure(
            "Started a minute",
            "Calls that began, a minute, in the last 15 minutes: mean.",
            live(f'SELECT sum("started") / 15 FROM {source(CALLS.name, RECENT)}'),
            colour="purple",
            decimals=1,
        ),
        figure(
            "Answered, 1 h",
            "Share of the calls of the last hour that were answered, of those that began in it.",
            ratio('sum("answered")', 'sum("started")', CALLS.name, "", time=LAST_HOUR),
            unit="percentunit",
            decimals=1,
            colour="green",
            no_value="no call",
        ),
        figure(
            "Mean talk, 1 h",
            "Mean time from answer to end of the calls that ended in the last hour.",
            ratio('sum("talk_sum")', 'sum("talks")', CALLS.name, "", time=LAST_HOUR),
            unit="s",
            no_value="no talk",
        ),
        figure(
            "Failed, 1 h",
            "Calls of the last hour that failed: neither answered, busy, unanswered nor cancelled.",
            live(f'SELECT sum("ended") FROM {source(CALLS.name, LAST_HOUR, _FAILED)}'),
            steps=((None, "green"), (1, "orange")),
        ),
        figure(
            "In conferences now",
            "People in all conferences now.",
            total_now(CONFERENCES.name, "people"),
        ),
        figure(
            "AMI not logged in",
            "Asterisks whose manager interface the collector is not logged in to.",
            live(
                'SELECT count("connected") - sum("connected") FROM'
                ' (SELECT last("connected") AS "connected" FROM'
                f' {source(AMI_TRAFFIC.name, NOW)} GROUP BY "asterisk")'
            ),
            steps=((None, "green"), (1, "red")),
        ),
    ),
    (
        drawn(
            "Calls, by direction",
            "Calls at each time, by direction; all are `unknown` where no trunk is named. Orange"
            " dashes: the value may be wrong.",
            *summed(CALLS.name, "calls", "direction", within=("trunk",)),
            width=16,
            height=9,
            overrides=DIRECTIONS,
            no_value="no Asterisk is asked",
            step=True,
        ),
        no_trunk(
            drawn(
                "Calls, by trunk",
                "Calls at each time by trunk, in both directions.",
                *summed(CALLS.name, "calls", "trunk", within=("direction",)),
                height=9,
                step=True,
                no_value="no Asterisk is asked",
            )
        ),
    ),
    (
        drawn(
            "Calls ended a minute, by outcome",
            "Calls that ended, a minute, by outcome. `lost` ended while the connection was away.",
            per_minute(CALLS.name, "ended", "$tag_outcome", tag="outcome"),
            width=16,
            overrides=OUTCOMES,
            stacked=True,
            interval=_LATER,
        ),
        drawn(
            "Calls started and answered a minute",
            "Calls that began and calls that were answered, a minute.",
            per_minute(CALLS.name, "started", "started"),
            per_minute(CALLS.name, "answered", "answered"),
            overrides=(painted("started", BLUE), painted("answered", GREEN)),
            interval=_LATER,
        ),
    ),
    (
        bars(
            "Calls ended in the chosen time, by hangup cause",
            "Calls that ended in the chosen time, by hangup cause (Q.850): 16 is normal, 17 busy,"
            " 19 no answer, 34 no circuit; 0 is a time that was over.",
            (each(CALLS.name, 'sum("ended")', "cause"),),
            (*_BLUE_BARS, *_named(_CAUSES)),
            width=8,
            no_value="no call ended",
        ),
        bars(
            "Calls not ended normally, by SIP status",
            "Calls that ended in the chosen time by the SIP status that ended them, without those"
            " that ended normally.",
            (each(CALLS.name, 'sum("ended")', "tech_cause", "\"tech_cause\" != 'none'"),),
            (*_BLUE_BARS, *_named(_STATUSES)),
            width=8,
            no_value="all were normal",
        ),
        UNCOUNTED,
    ),
    (
        quantiles(
            "Time to answer",
            "Time from a call's beginning to its answer.",
            CALLS.name,
            "ring",
            no_value="no call was answered",
        ),
        drawn(
            "Time of a talk",
            "Time from answer to end: exact mean, the median of medians, the longest.",
            ratio('sum("talk_sum")', 'sum("talks")', CALLS.name, "mean", time="$timeFilter"),
            over_time('median("talk_p50")', CALLS.name, "half under"),
            over_time('max("talk_max")', CALLS.name, "longest"),
            unit="s",
            overrides=(
                painted("mean", GREY),
                painted("half under", GREEN),
                painted("longest", RED),
            ),
            no_value="no talk ended",
            gap_ms=3_600_000,
            interval="5m",
        ),
        drawn(
            "People in conferences, by Asterisk",
            "People in all conferences of each Asterisk, and in those that the operator named."
            " Orange dashes: the value may be wrong.",
            *apart(CONFERENCES.name, "people"),
            *apart(CONFERENCES.name, "present", _NAMED, tags=("conference",)),
            step=True,
        ),
    ),
    (
        drawn(
            "Gauges of UserEvent: $metric",
            "Gauges of the dialplan's UserEvent(Metric,…), chosen above. At most"
            f" {MOST_SERIES} are drawn.",
            live(
                f'SELECT last("value") FROM {source(USER_EVENTS.name, "$timeFilter", _METRIC)}'
                f' GROUP BY time($__interval), "name" SLIMIT {MOST_SERIES}',
                "$tag_name",
            ),
            width=6,
            no_value="no gauge came",
            gap_ms=3_600_000,
        ),
        drawn(
            "Counters of UserEvent a minute: $metric",
            "Counters of the dialplan's UserEvent(Metric,…), a minute, chosen above.",
            per_minute(USER_EVENTS.name, "sum", "$tag_name", _METRIC, tag="name"),
            width=6,
            no_value="no counter came",
            interval=_LATER,
        ),
        drawn(
            "Timers of UserEvent, median: $metric",
            "Timers of the dialplan's UserEvent(Metric,…), in the unit of the dialplan: median of"
            " the medians of each flush.",
            live(
                'SELECT median("timer_p50") FROM'
                f" {source(USER_EVENTS.name, '$timeFilter', _METRIC)}"
                f' GROUP BY time($__interval), "name" SLIMIT {MOST_SERIES}',
                "$tag_name",
            ),
            width=6,
            no_value="no timer came",
            gap_ms=3_600_000,
            interval=_LATER,
        ),
        drawn(
            "Keys pressed a minute",
            "Keys pressed, a minute; which ones is not stored.",
            per_minute(DTMF.name, "count", "$tag_direction", tag="direction"),
            width=6,
            interval=_LATER,
        ),
    ),
    variables=(
        asked("metric", "Metric", names(USER_EVENTS.name, "name"), ASTERISK_LIVE, many=True),
    ),
)
