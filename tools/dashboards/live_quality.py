"""Speech quality and trunks: what is lost on the way, and which way fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from collector.schema.ami import CALLS, IAX2_PEERS, IAX2_REGISTRATIONS, RTP, TRUNKS
from collector.schema.live import PJSIP_REGISTRATIONS
from tools.dashboards.alerts_bounds import LOSS_BOUND
from tools.dashboards.colours import painted
from tools.dashboards.live_calls import OUTCOMES, UNCOUNTED
from tools.dashboards.live_parts import (
    BLUE,
    GREEN,
    GREY,
    MOST_SERIES,
    NOW,
    ORANGE,
    RECENT,
    RED,
    drawn,
    figure,
    live,
    live_board,
    names,
    per_minute,
    source,
    summed,
    total_now,
)
from tools.dashboards.model import ASTERISK_LIVE, Panel
from tools.dashboards.variables import asked

_CHOSEN: Final = '"trunk" =~ /^${trunk:regex}$/'
_LATER: Final = "1m"
_FAILED: Final = "\"outcome\" = 'failed'"
_STATES: Final = (
    painted("Registered", GREEN),
    painted("Rejected", RED),
    painted("Unregistered", ORANGE),
    painted("reachable", GREEN),
    painted("unreachable", RED),
    painted("unmonitored", BLUE),
    painted("unknown", GREY),
)


def _now(title: str, description: str, expression: str, unit: str, *bounds: float) -> Panel:
    """A number of the last quarter of an hour, orange from the first bound, red from the second."""
    up = bounds[0] < bounds[1]
    colours = ("green", "orange", "red") if up else ("red", "orange", "green")
    first, second = sorted(bounds)
    return figure(
        title,
        f"{description} In the last 15 minutes.",
        live(f"SELECT {expression} FROM {source(RTP.name, RECENT, _CHOSEN)}"),
        unit=unit,
        no_value="no talk",
        steps=((None, colours[0]), (first, colours[1]), (second, colours[2])),
    )


def _rtp(title: str, description: str, expression: str, unit: str) -> Panel:
    return drawn(
        title,
        f"{description} `received` is what Asterisk got, `sent` what the far end got.",
        live(
            f"SELECT {expression} FROM {source(RTP.name, '$timeFilter', _CHOSEN)}"
            f' GROUP BY time($__interval), "trunk", "direction" SLIMIT {MOST_SERIES}',
            "$tag_trunk $tag_direction",
        ),
        width=12,
        unit=unit,
        no_value="no talk",
        gap_ms=600_000,
        interval=_LATER,
    )


QUALITY_BOARD: Final = live_board(
    "asterisk-quality",
    "Quality and trunks",
    "What is lost of speech on the way, and how calls over each trunk end.",
    (
        _now(
            "Loss",
            "Share of the packets lost, under which nine in ten reports lie.",
            'percentile("loss_p90", 90)',
            "percentunit",
            LOSS_BOUND / 3,
            LOSS_BOUND,
        ),
        _now(
            "Jitter",
            "Jitter under which nine in ten reports lie.",
            'percentile("jitter_p90", 90)',
            "s",
            0.03,
            0.06,
        ),
        _now(
            "Round trip",
            "Round trip of speech under which nine in ten reports lie.",
            'percentile("rtt_p90", 90)',
            "s",
            0.15,
            0.3,
        ),
        _now(
            "Score",
            "Asterisk's media experience score, median: 88 is clean, 73 is 5 % lost, 45 is 10 %.",
            'median("mes_p50")',
            "none",
            80,
            70,
        ),
        figure(
            "Trunks down",
            "Trunks of which Asterisk can reach no endpoint. 2 minutes of it is an alert.",
            live(
                'SELECT count("up") - sum("up") FROM (SELECT last("up") AS "up" FROM'
                f' {source(TRUNKS.name, NOW, _CHOSEN)} GROUP BY "asterisk", "trunk")'
            ),
            no_value="not known",
            steps=((None, "green"), (1, "red")),
        ),
        figure(
            "Attempts that failed",
            "Share of the outgoing attempts of the last 15 minutes that failed: the trunk, or the"
            " network behind it, could not place them.",
            live(
                'SELECT sum("failed") / sum("attempts") AS "share" FROM'
                ' (SELECT sum("attempts") AS "failed", 0 * sum("attempts") AS "attempts"'
                f" FROM {source(CALLS.name, RECENT, _CHOSEN, _FAILED)}),"
                ' (SELECT 0 * sum("attempts") AS "failed", sum("attempts") AS "attempts"'
                f" FROM {source(CALLS.name, RECENT, _CHOSEN)})"
            ),
            unit="percentunit",
            no_value="no attempt",
            steps=((None, "green"), (0.05, "orange"), (0.2, "red")),
        ),
        figure(
            "Registrations lost",
            "Outbound PJSIP registrations that are not registered. 2 minutes of it is an alert.",
            total_now(
                PJSIP_REGISTRATIONS.name,
                "count",
                '"state" =~ /^(Unregistered|Rejected)$/',
                tags=("state",),
            ),
            steps=((None, "green"), (1, "red")),
        ),
        figure(
            "IAX2 unreachable",
            "IAX2 peers that do not answer.",
            total_now(IAX2_PEERS.name, "count", "\"state\" = 'unreachable'"),
            steps=((None, "green"), (1, "red")),
        ),
    ),
    (
        _rtp(
            "Packets lost",
            "Share of the packets lost, 90th percentile of the reports, by trunk. A loss on one leg"
            " of a call may appear on the other too: do not add them.",
            'percentile("loss_p90", 90)',
            "percentunit",
        ),
        _rtp(
            "Score over time",
            "Media experience score of Asterisk, 0 to 100, median, by trunk.",
            'median("mes_p50")',
            "none",
        ),
    ),
    (
        _rtp(
            "Jitter over time",
            "90th percentile of the reports, by trunk.",
            'percentile("jitter_p90", 90)',
            "s",
        ),
        _rtp(
            "Round trip of speech",
            "90th percentile of the reports, by trunk; only the far end's reports tell it.",
            'percentile("rtt_p90", 90)',
            "s",
        ),
    ),
    (
        drawn(
            "Outgoing attempts by outcome, a minute",
            "Outgoing legs that ended, a minute, by outcome, over the chosen trunks. A call that"
            " fails over to a second trunk has an attempt on each.",
            per_minute(CALLS.name, "attempts", "$tag_outcome", _CHOSEN, tag="outcome"),
            overrides=OUTCOMES,
            stacked=True,
            no_value="no attempt",
            interval=_LATER,
        ),
        drawn(
            "Failed attempts by trunk, a minute",
            "Outgoing attempts that failed, a minute, by trunk.",
            per_minute(
                CALLS.name,
                "attempts",
                "$tag_trunk",
                _CHOSEN,
                _FAILED,
                tag="trunk",
            ),
            interval=_LATER,
        ),
        drawn(
            "Calls by trunk",
            "Calls at each time by trunk. Orange dashes: the value may be wrong.",
            *summed(CALLS.name, "calls", "trunk", _CHOSEN, within=("direction",)),
            no_value="no Asterisk is asked",
        ),
    ),
    (
        drawn(
            "Trunks that are up",
            "1 while Asterisk can reach an endpoint of the trunk, 0 while it can reach none. Only a"
            " trunk that is qualified, or registers, is noticed to be down.",
            live(
                f'SELECT last("up") FROM {source(TRUNKS.name, "$timeFilter", _CHOSEN)}'
                f' GROUP BY time($__interval), "asterisk", "trunk" SLIMIT {MOST_SERIES}',
                "$tag_asterisk $tag_trunk",
            ),
            width=6,
            unit="none",
            no_value="no trunk is named",
        ),
        drawn(
            "IAX2 peers",
            "IAX2 peers by state. Orange dashes: the value may be wrong.",
            *summed(IAX2_PEERS.name, "count", "state"),
            width=6,
            overrides=_STATES,
            no_value="no IAX2 peer",
        ),
        drawn(
            "IAX2 registrations",
            "Outbound IAX2 registrations by state; Asterisk gives no event when one is lost, so"
            " they are asked for. Orange dashes: the value may be wrong.",
            *summed(IAX2_REGISTRATIONS.name, "count", "state"),
            width=6,
            overrides=_STATES,
            no_value="no IAX2 registration",
        ),
        replace(UNCOUNTED, width=6),
    ),
    variables=(asked("trunk", "Trunk", names(CALLS.name, "trunk"), ASTERISK_LIVE, many=True),),
)
