"""What each Asterisk does now, as its StatsD tells it."""

from __future__ import annotations

from typing import Final

from collector.schema.live import (
    ASTERISK,
    CHANNELS,
    ENDPOINT_CHANNELS,
    ENDPOINTS,
    PJSIP_CONTACTS,
    PJSIP_REGISTRATIONS,
    PJSIP_RTT,
    PJSIP_RTT_ALL,
    STATSD_GAUGE,
    STATSD_TIMER,
    STATSD_TRAFFIC,
    UNCERTAIN,
)
from tools.dashboards.alerts_bounds import RTT_BOUND_MS, SILENT_S
from tools.dashboards.colours import painted
from tools.dashboards.kinds import bars, lines, table
from tools.dashboards.live_dialplan import ROW as DIALPLAN
from tools.dashboards.live_dialplan import VARIABLES
from tools.dashboards.live_host import ROWS as HOST
from tools.dashboards.live_parts import (
    CHOSEN,
    GAP_MS,
    MOST_SERIES,
    NOW,
    RECENT,
    apart,
    drawn,
    figure,
    live,
    live_board,
    long_names,
    over_time,
    per_minute,
    ratio,
    source,
    summed,
    total_now,
)
from tools.dashboards.meanings import BLUE, GREEN, GREY, ORANGE, RED
from tools.dashboards.model import Override, Panel

_ENDED: Final = "\"name\" = 'channels.calltime'"
_LOST: Final = '"state" =~ /^(Unregistered|Rejected)$/'
_STATES: Final = "\"state\" != 'all' AND \"state\" != 'Removed'"
_UNREACHABLE: Final = "\"state\" = 'Unreachable'"
_IN_USE: Final = '"count" > 0'
_GAUGES: Final = ", ".join(
    f'"{each.name}"'
    for each in (
        CHANNELS,
        ENDPOINTS,
        ENDPOINT_CHANNELS,
        PJSIP_CONTACTS,
        PJSIP_REGISTRATIONS,
        STATSD_GAUGE,
    )
)
_GOOD_STATES: Final = ("Reachable", "online", "Registered")
_BAD_STATES: Final = ("Unreachable", "offline", "Rejected")
_PAINTED: Final = (
    *(painted(state, GREEN) for state in _GOOD_STATES),
    *(painted(state, RED) for state in _BAD_STATES),
    painted("Unregistered", ORANGE),
    painted("NonQualified", BLUE),
    painted("Unknown", GREY),
    painted("unknown", GREY),
)


def _states(title: str, description: str, measurement: str) -> Panel:
    return drawn(
        title,
        f"{description} Orange dashes: the value may be wrong.",
        *summed(measurement, "count", "state", _STATES),
        overrides=_PAINTED,
        no_value="nothing was sent",
        step=True,
    )


_NUMBERS: Final = (
    figure(
        "Channels now",
        "Channels alive: both legs of a call, and a conference's announcer, are channels.",
        total_now(CHANNELS.name, "count"),
        no_value="not sent",
    ),
    figure(
        "Ended a minute",
        "Channels that ended, a minute, in the last 15 minutes: mean.",
        live(f'SELECT sum("count") / 15 FROM {source(STATSD_TIMER.name, RECENT, _ENDED)}'),
        colour="purple",
        decimals=1,
    ),
    figure(
        "Contacts reachable",
        "PJSIP contacts that answered their last OPTIONS.",
        total_now(PJSIP_CONTACTS.name, "count", "\"state\" = 'Reachable'"),
        colour="green",
        no_value="not sent",
    ),
    figure(
        "Contacts lost",
        "PJSIP contacts that did not answer their last OPTIONS. A rise is an alert.",
        total_now(PJSIP_CONTACTS.name, "count", _UNREACHABLE),
        steps=((None, "green"), (1, "orange")),
    ),
    figure(
        "Registrations lost",
        "Outbound registrations that are not registered. 2 minutes of it is an alert.",
        total_now(PJSIP_REGISTRATIONS.name, "count", _LOST, tags=("state",)),
        steps=((None, "green"), (1, "red")),
    ),
    figure(
        "Round trip, 15 min",
        "Nine in ten round trips of OPTIONS in the last 15 minutes were shorter.",
        live(f'SELECT percentile("p90", 90) FROM {source(PJSIP_RTT_ALL.name, RECENT)}'),
        unit="ms",
        no_value="no answer yet",
        steps=((None, "green"), (RTT_BOUND_MS / 2, "orange"), (RTT_BOUND_MS, "red")),
    ),
    figure(
        "May be wrong",
        "Gauges that may be wrong since a restart or lost datagrams: their lines are dashed orange,"
        " and the bars below name them.",
        total_now(STATSD_TRAFFIC.name, "uncertain"),
        steps=((None, "green"), (1, "orange")),
    ),
    figure(
        "Longest silence",
        "Time since the last datagram of the Asterisk that has been silent for longest.",
        live(f'SELECT max("silent") FROM {source(STATSD_TRAFFIC.name, NOW)}'),
        unit="s",
        no_value="none heard yet",
        steps=((None, "green"), (120, "orange"), (SILENT_S, "red")),
    ),
)

ASTERISK_NOW: Final = live_board(
    "asterisk-live",
    "Asterisk live",
    "What each Asterisk does now, as its StatsD tells it; what may be wrong says so.",
    _NUMBERS,
    (
        drawn(
            "Channels, by Asterisk",
            "Channels alive of each Asterisk. Orange dashes: the value may be wrong, since Asterisk"
            " or the collector was away and nothing has set it right.",
            *apart(CHANNELS.name, "count"),
            width=16,
            height=9,
            no_value="res_chan_stats sends nothing",
            step=True,
        ),
        long_names(
            bars(
                "Values that may be wrong, since when",
                "Gauges that may be wrong, by how long; nothing has told their true value since."
                f" The first {MOST_SERIES} are shown.",
                (
                    live(
                        f'SELECT last("{UNCERTAIN}") FROM {_GAUGES} WHERE {NOW} AND {CHOSEN}'
                        f' GROUP BY "{ASTERISK.name}", "state", "endpoint", "name"'
                        f" SLIMIT {MOST_SERIES}",
                        "$tag_asterisk $m $tag_state$tag_endpoint$tag_name",
                    ),
                ),
                (Override("byRegexp", "/.*/", {"color": {"mode": "fixed", "fixedColor": ORANGE}}),),
                width=8,
                height=9,
                unit="s",
                no_value="all are right",
            )
        ),
    ),
    (
        _states("PJSIP contacts, by state", "PJSIP contacts by state.", PJSIP_CONTACTS.name),
        _states("Endpoints, by state", "Endpoints by state, of all technologies.", ENDPOINTS.name),
        _states(
            "Outbound registrations, by state",
            "Outbound registrations by state.",
            PJSIP_REGISTRATIONS.name,
        ),
    ),
    (
        lines(
            "Round trip of OPTIONS, all contacts",
            "Round trips of OPTIONS to all contacts: exact mean, median, the value under which"
            " nine in ten lie, and the longest. Of several flushes: the median of medians, the 90th"
            " percentile of 90th percentiles.",
            (
                ratio('sum("sum")', 'sum("count")', PJSIP_RTT_ALL.name, "mean", time="$timeFilter"),
                over_time('median("p50")', PJSIP_RTT_ALL.name, "half under"),
                over_time('percentile("p90", 90)', PJSIP_RTT_ALL.name, "90 % under"),
                over_time('max("max")', PJSIP_RTT_ALL.name, "longest"),
            ),
            width=12,
            unit="ms",
            fill=0,
            overrides=(
                painted("mean", GREY),
                painted("half under", GREEN),
                painted("90 % under", ORANGE),
                painted("longest", RED),
            ),
            no_value="no contact is qualified",
            gap_ms=5 * GAP_MS,
            interval="1m",
        ),
        table(
            "Longest round trips, 15 min",
            "The addresses of record (AOR) with the longest round trips in the last 15 minutes.",
            live(
                f'SELECT top("max", "{ASTERISK.name}", "aor", {MOST_SERIES})'
                f" FROM {source(PJSIP_RTT.name, RECENT)}",
                table=True,
            ),
            width=6,
            height=8,
            names={"asterisk": "Asterisk", "aor": "AOR", "top": "longest"},
            sort="longest",
            no_value="no contact is qualified",
            unit="ms",
        ),
        lines(
            "Unanswered OPTIONS a minute",
            "OPTIONS that a contact did not answer, a minute.",
            (per_minute(PJSIP_RTT_ALL.name, "unreachable", "without an answer"),),
            width=6,
            overrides=(painted("without an answer", RED),),
            no_value="none",
            gap_ms=5 * GAP_MS,
            interval="1m",
        ),
    ),
    DIALPLAN,
    (
        lines(
            "Channels ended a minute, by Asterisk",
            "Channels that ended, a minute, by Asterisk.",
            (per_minute(STATSD_TIMER.name, "count", "$tag_asterisk", _ENDED, tag=ASTERISK.name),),
            width=8,
            no_value="res_chan_stats sends nothing",
            gap_ms=GAP_MS,
            interval="1m",
        ),
        table(
            "Busiest endpoints now",
            f"Endpoints with the most channels now, at most {MOST_SERIES}.",
            live(
                f'SELECT top("count", "{ASTERISK.name}", "endpoint", {MOST_SERIES})'
                f" FROM {source(ENDPOINT_CHANNELS.name, NOW, _IN_USE)}",
                table=True,
            ),
            width=8,
            height=8,
            names={"asterisk": "Asterisk", "endpoint": "endpoint", "top": "channels"},
            sort="channels",
            no_value="no endpoint has a channel",
        ),
        lines(
            "StatsD a minute: what arrives",
            "Samples taken and dropped a minute, starts of Asterisk, and underflows: a gauge of"
            " things that would have fallen below 0, as by a dialplan that counts down twice.",
            (
                per_minute(STATSD_TRAFFIC.name, "samples", "samples"),
                per_minute(STATSD_TRAFFIC.name, "dropped", "dropped"),
                per_minute(STATSD_TRAFFIC.name, "underflows", "underflows"),
                per_minute(STATSD_TRAFFIC.name, "restarts", "starts of Asterisk"),
            ),
            width=8,
            overrides=(
                painted("samples", BLUE),
                painted("dropped", RED),
                painted("underflows", ORANGE),
                painted("starts of Asterisk", GREY),
            ),
            no_value="nothing arrives",
            gap_ms=GAP_MS,
            interval="1m",
        ),
    ),
    *HOST,
    variables=VARIABLES,
)
