"""Calls of each Asterisk, as its manager interface tells of them."""

from __future__ import annotations

from typing import Final

from collector.schema.ami import AMI_TRAFFIC, CALLS, CONFERENCES, DTMF, USER_EVENTS
from tools.dashboards.colours import painted
from tools.dashboards.kinds import bars
from tools.dashboards.live_parts import (
    BLUE,
    GREEN,
    GREY,
    LAST_HOUR,
    MOST_SERIES,
    NOW,
    ORANGE,
    RECENT,
    RED,
    apart,
    drawn,
    each,
    figure,
    live,
    live_board,
    names,
    over_time,
    per_minute,
    quantiles,
    ratio,
    source,
    summed,
    total_now,
)
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
    painted("no_answer", "#f2cc0c"),
    painted("cancelled", GREY),
    painted("failed", RED),
    painted("lost", "#b877d9"),
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
UNCOUNTED: Final = drawn(
    "Not counted",
    "Seconds of each minute in which the collector was not logged in, or Asterisk restarted: counts"
    " of that time are too low.",
    per_minute(AMI_TRAFFIC.name, "gap", "$tag_asterisk", tag="asterisk"),
    unit="s",
    overrides=(Override("byRegexp", "/.*/", {"color": {"mode": "fixed", "fixedColor": RED}}),),
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
        ),
        figure(
            "Answered",
            "Share of the calls of the last hour that were answered, of those that began in it.",
            ratio('sum("answered")', 'sum("started")', CALLS.name, "", time=LAST_HOUR),
            unit="percentunit",
            colour="green",
            no_value="no call",
        ),
        figure(
            "Mean talk",
            "Mean time from answer to end of the calls that ended in the last hour.",
            ratio('sum("talk_sum")', 'sum("talks")', CALLS.name, "", time=LAST_HOUR),
            unit="s",
            no_value="no talk",
        ),
        figure(
            "Failed in an hour",
            "Calls of the last hour that failed: neither answered, busy, unanswered nor cancelled.",
            live(f'SELECT sum("ended") FROM {source(CALLS.name, LAST_HOUR, _FAILED)}'),
            steps=((None, "green"), (1, "orange")),
        ),
        figure(
            "In conferences",
            "People in all conferences now.",
            total_now(CONFERENCES.name, "people"),
        ),
        figure(
            "Not logged in",
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
            "Calls",
            "Calls at each time, by direction; all are `unknown` where no trunk is named. Orange"
            " dashes: the value may be wrong.",
            *summed(CALLS.name, "calls", "direction", within=("trunk",)),
            width=16,
            height=9,
            overrides=DIRECTIONS,
            no_value="no Asterisk is asked",
        ),
        drawn(
            "Calls by trunk",
            "Calls at each time by trunk, both directions; `none` are those over no named trunk.",
            *summed(CALLS.name, "calls", "trunk", within=("direction",)),
            height=9,
            no_value="no Asterisk is asked",
        ),
    ),
    (
        drawn(
            "Ended a minute, by outcome",
            "Calls that ended, a minute, by outcome. `lost` ended while the connection was away.",
            per_minute(CALLS.name, "ended", "$tag_outcome", tag="outcome"),
            width=16,
            overrides=OUTCOMES,
            stacked=True,
            interval=_LATER,
        ),
        drawn(
            "Started and answered a minute",
            "Calls that began and calls that were answered, a minute.",
            per_minute(CALLS.name, "started", "started"),
            per_minute(CALLS.name, "answered", "answered"),
            overrides=(painted("started", BLUE), painted("answered", GREEN)),
            interval=_LATER,
        ),
    ),
    (
        bars(
            "Hangup causes",
            "Calls that ended in the chosen time, by hangup cause (Q.850): 16 is normal, 17 busy,"
            " 19 no answer, 34 no circuit; 0 is a time that was over.",
            (each(CALLS.name, 'sum("ended")', "cause"),),
            _BLUE_BARS,
            width=8,
            no_value="no call ended",
        ),
        bars(
            "SIP status of ends that were not normal",
            "Calls that ended in the chosen time by the SIP status that ended them, without those"
            " that ended normally.",
            (each(CALLS.name, 'sum("ended")', "tech_cause", "\"tech_cause\" != 'none'"),),
            _BLUE_BARS,
            width=8,
            no_value="all were normal",
        ),
        UNCOUNTED,
    ),
    (
        quantiles(
            "Ring time",
            "Time from a call's beginning to its answer.",
            CALLS.name,
            "ring",
            no_value="no call was answered",
        ),
        drawn(
            "Talk time",
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
            "People in conferences",
            "People in all conferences of each Asterisk, and in those that the operator named."
            " Orange dashes: the value may be wrong.",
            *apart(CONFERENCES.name, "people"),
            *apart(CONFERENCES.name, "present", _NAMED, tags=("conference",)),
        ),
    ),
    (
        drawn(
            "Dialplan: $metric, last value",
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
            "Dialplan: $metric, a minute",
            "Counters of the dialplan's UserEvent(Metric,…), a minute, chosen above.",
            per_minute(USER_EVENTS.name, "sum", "$tag_name", _METRIC, tag="name"),
            width=6,
            no_value="no counter came",
            interval=_LATER,
        ),
        drawn(
            "Dialplan: $metric, median",
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
            "Keys a minute",
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
