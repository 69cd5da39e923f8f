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
    MOST_SERIES,
    NOW,
    RECENT,
    drawn,
    figure,
    live,
    live_board,
    names,
    no_trunk,
    per_minute,
    source,
    summed,
    total_now,
)
from tools.dashboards.meanings import BLUE, DARK_BLUE, GREEN, GREY, MAUVE, ORANGE, PURPLE, RED, TEAL
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
    painted("Unknown", GREY),
    painted("Auth Sent", BLUE),
    painted("Request Sent", DARK_BLUE),
    painted("Timeout", PURPLE),
    painted("No Authentication", MAUVE),
    painted("Stopped", TEAL),
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
        decimals=1 if unit == "percentunit" else None,
        no_value="no talk",
        steps=((None, colours[0]), (first, colours[1]), (second, colours[2])),
    )


def _rtp(title: str, description: str, expression: str, unit: str) -> Panel:
    return no_trunk(
        drawn(
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
    )


def _up_or_down(panel: Panel) -> Panel:
    """The same lines of 0 and 1 with words for them."""
    words = {"0": {"text": "down", "index": 0}, "1": {"text": "up", "index": 1}}
    # The axis has marks between the two; for an empty text Grafana would write the text of no data.
    between = {"from": 0.01, "to": 0.99, "result": {"text": " ", "index": 2}}
    mappings = [{"type": "value", "options": words}, {"type": "range", "options": between}]
    return replace(panel, defaults={**panel.defaults, "max": 1, "mappings": mappings})


QUALITY_BOARD: Final = live_board(
    "asterisk-quality",
    "Quality and trunks",
    "What is lost of speech on the way, and how calls over each trunk end.",
    (
        _now(
            "Loss, 15 min",
            "Share of the packets lost, under which nine in ten reports lie.",
            'percentile("loss_p90", 90)',
            "percentunit",
            LOSS_BOUND / 3,
            LOSS_BOUND,
        ),
        _now(
            "Jitter, 15 min",
            "Jitter under which nine in ten reports lie.",
            'percentile("jitter_p90", 90)',
            "s",
            0.03,
            0.06,
        ),
        _now(
            "Round trip, 15 min",
            "Round trip of speech under which nine in ten reports lie.",
            'percentile("rtt_p90", 90)',
            "s",
            0.15,
            0.3,
        ),
        _now(
            "Score, 15 min",
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
            "Calls out failed",
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
            decimals=1,
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
            "Packets lost, by trunk",
            "Share of the packets lost, 90th percentile of the reports, by trunk. A loss on one leg"
            " of a call may appear on the other too: do not add them.",
            'percentile("loss_p90", 90)',
            "percentunit",
        ),
        _rtp(
            "Score of speech, by trunk",
            "Media experience score of Asterisk, 0 to 100, median, by trunk.",
            'median("mes_p50")',
            "none",
        ),
    ),
    (
        _rtp(
            "Jitter, by trunk",
            "90th percentile of the reports, by trunk.",
            'percentile("jitter_p90", 90)',
            "s",
        ),
        _rtp(
            "Round trip of speech, by trunk",
            "90th percentile of the reports, by trunk; only the far end's reports tell it.",
            'percentile("rtt_p90", 90)',
            "s",
        ),
    ),
    (
        drawn(
            "Attempts to call out a minute, by outcome",
            "Outgoing legs that ended, a minute, by outcome, over the chosen trunks. A call that"
            " fails over to a second trunk has an attempt on each.",
            per_minute(CALLS.name, "attempts", "$tag_outcome", _CHOSEN, tag="outcome"),
            overrides=OUTCOMES,
            stacked=True,
            no_value="no attempt",
            interval=_LATER,
        ),
        no_trunk(
            drawn(
                "Failed attempts a minute, by trunk",
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
            )
        ),
        no_trunk(
            drawn(
                "Calls, by trunk",
                "Calls at each time by trunk. Orange dashes: the value may be wrong.",
                *summed(CALLS.name, "calls", "trunk", _CHOSEN, within=("direction",)),
                step=True,
                no_value="no Asterisk is asked",
            )
        ),
    ),
    (
        _up_or_down(
            drawn(
                "Trunks that are up",
                "A trunk is up while Asterisk can reach an endpoint of it. Only one that is"
                " qualified, or registers, is noticed to be down.",
                live(
                    f'SELECT last("up") FROM {source(TRUNKS.name, "$timeFilter", _CHOSEN)}'
                    f' GROUP BY time($__interval), "asterisk", "trunk" SLIMIT {MOST_SERIES}',
                    "$tag_asterisk $tag_trunk",
                ),
                width=6,
                unit="none",
                no_value="no trunk is named",
                step=True,
            )
        ),
        drawn(
            "IAX2 peers, by state",
            "IAX2 peers by state. Orange dashes: the value may be wrong.",
            *summed(IAX2_PEERS.name, "count", "state"),
            width=6,
            overrides=_STATES,
            no_value="no IAX2 peer",
            step=True,
        ),
        drawn(
            "IAX2 registrations, by state",
            "Outbound IAX2 registrations by state; Asterisk gives no event when one is lost, so"
            " they are asked for. Orange dashes: the value may be wrong.",
            *summed(IAX2_REGISTRATIONS.name, "count", "state"),
            width=6,
            overrides=_STATES,
            no_value="no IAX2 registration",
            step=True,
        ),
        replace(UNCOUNTED, width=6),
    ),
    variables=(asked("trunk", "Trunk", names(CALLS.name, "trunk"), ASTERISK_LIVE, many=True),),
)
