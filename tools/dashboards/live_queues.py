"""A wallboard of the queues: large tiles for across a room, and the lines behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from collector.schema.ami import AGENTS, QUEUES
from tools.dashboards.alerts_bounds import WAIT_BOUND_S
from tools.dashboards.colours import painted
from tools.dashboards.kinds import table
from tools.dashboards.live_calls import UNCOUNTED
from tools.dashboards.live_parts import (
    LAST_HOUR,
    MOST_SERIES,
    NOW,
    apart,
    drawn,
    figure,
    live,
    live_board,
    names,
    per_minute,
    quantiles,
    ratio,
    source,
    summed,
)
from tools.dashboards.meanings import BLUE, DARK_BLUE, GREEN, GREY, MAUVE, ORANGE, PURPLE, RED
from tools.dashboards.model import ASTERISK_LIVE, Override, Panel, Target
from tools.dashboards.variables import asked

_CHOSEN: Final = '"queue" =~ /^${queue:regex}$/'
_TOGETHER: Final = "\"agent\" = ''"
_WORKING: Final = '"state" =~ /^(ringing|in_use|on_hold|busy)$/'
_BY: Final = f'GROUP BY "queue" SLIMIT {MOST_SERIES}'
_LATER: Final = "1m"
_BY_NAME: Final = "\"agent\" != ''"
_QUARTER: Final = "15m"
_DARK: Final = {"green": "#37872d", "orange": "#b86200", "red": "#c4162a", "blue": "#1f60c4"}
_STATES: Final = (
    painted("available", GREEN),
    painted("ringing", MAUVE),
    painted("in_use", BLUE),
    painted("on_hold", DARK_BLUE),
    painted("busy", ORANGE),
    painted("paused", PURPLE),
    painted("unavailable", RED),
    painted("unknown", GREY),
)


def _wall(
    title: str,
    description: str,
    target: Target,
    steps: tuple[tuple[float | None, str], ...],
    *,
    unit: str = "locale",
    no_value: str = "no queue",
) -> Panel:
    """A tile for each queue, filled with the colour of its number."""
    panel = figure(title, description, target, width=8, unit=unit, no_value=no_value, steps=steps)
    options = {
        **panel.options,
        "colorMode": "background",
        "textMode": "value_and_name",
        "justifyMode": "center",
    }
    defaults = dict(panel.defaults)
    if not steps:
        defaults["color"] = {"mode": "fixed", "fixedColor": _DARK["blue"]}
    dark = tuple((bound, _DARK[colour]) for bound, colour in panel.steps)
    return replace(panel, height=6, steps=dark, defaults=defaults, options=options)


def _now(field: str, *, how: str = "sum") -> Target:
    """The last value of a field for each queue, of all chosen Asterisks."""
    return live(
        f'SELECT {how}("{field}") FROM (SELECT last("{field}") AS "{field}"'
        f' FROM {source(QUEUES.name, NOW, _CHOSEN)} GROUP BY "asterisk", "queue") {_BY}',
        "$tag_queue",
    )


def _hour(expression: str) -> Target:
    return live(
        f"SELECT {expression} FROM {source(QUEUES.name, LAST_HOUR, _CHOSEN)} {_BY}", "$tag_queue"
    )


def _served(time: str) -> Target:
    """Share of callers answered within the service level, by queue."""
    return ratio(
        'sum("within")',
        'sum("answered") + sum("abandoned") - sum("abandoned_within")',
        QUEUES.name,
        "$tag_queue",
        _CHOSEN,
        time=time,
        by="queue",
    )


def _timed(panel: Panel) -> Panel:
    """The same table with its column of talk as a time."""
    talk = Override("byName", "talk", {"unit": "s", "decimals": 0})
    return replace(panel, overrides=(*panel.overrides, talk))


def _times(title: str, description: str, prefix: str) -> Panel:
    return quantiles(title, description, QUEUES.name, prefix, _CHOSEN, no_value="nobody")


QUEUES_BOARD: Final = live_board(
    "asterisk-queues",
    "Queues",
    "A wallboard: who waits and how long, how well callers are served, who answers.",
    (
        _wall(
            "Callers waiting now",
            "Callers who wait now, in each queue.",
            _now("waiting"),
            ((None, "green"), (1, "orange"), (5, "red")),
        ),
        _wall(
            "Longest wait now",
            "How long the caller who waits longest has waited, in each queue. Over"
            f" {WAIT_BOUND_S // 60} minutes is an alert.",
            _now("longest_wait", how="max"),
            ((None, "green"), (60, "orange"), (WAIT_BOUND_S, "red")),
            unit="s",
        ),
        _wall(
            "Service level, last hour",
            "Share of the callers of the last hour who were answered within the queue's service"
            " level, of all who were answered or gave up later than that.",
            _served(LAST_HOUR),
            ((None, "red"), (0.6, "orange"), (0.8, "green")),
            unit="percentunit",
            no_value="no caller",
        ),
    ),
    (
        _wall(
            "Agents free now",
            "Agents who can take a call now, in each queue: idle, and not paused.",
            _now("available"),
            ((None, "red"), (1, "green")),
        ),
        _wall(
            "Agents at work now",
            "Agents who talk, hold, ring or are busy now, in each queue.",
            live(
                'SELECT sum("count") FROM (SELECT last("count") AS "count" FROM'
                f" {source(AGENTS.name, NOW, _CHOSEN, _WORKING, _TOGETHER)}"
                f' GROUP BY "asterisk", "queue", "state") {_BY}',
                "$tag_queue",
            ),
            (),
            no_value="none",
        ),
        _wall(
            "Callers who gave up, last hour",
            "Callers of the last hour who hung up while they waited, in each queue.",
            _hour('sum("abandoned")'),
            ((None, "green"), (1, "orange"), (10, "red")),
            no_value="none",
        ),
    ),
    (
        drawn(
            "Callers waiting, by queue",
            "Callers who wait, by queue. Orange dashes: the value may be wrong.",
            *apart(QUEUES.name, "waiting", _CHOSEN, tags=("queue",)),
            width=12,
            step=True,
            no_value="no queue",
        ),
        drawn(
            "Longest wait, by queue",
            "How long the caller who waits longest has waited, by queue. Orange dashes: the value"
            " may be wrong.",
            *apart(QUEUES.name, "longest_wait", _CHOSEN, tags=("queue",)),
            width=12,
            unit="s",
            no_value="no queue",
        ),
    ),
    (
        drawn(
            "Callers a minute, by what became of them",
            "Callers a minute, by what became of them. `lost`: they left while the connection was"
            " away. A full queue turns callers away without a word: those are not counted.",
            *(
                per_minute(QUEUES.name, field, words, _CHOSEN)
                for field, words in (
                    ("answered", "answered"),
                    ("abandoned", "gave up"),
                    ("timed_out", "time was over"),
                    ("left_by_key", "left by a key"),
                    ("lost", "lost"),
                )
            ),
            width=12,
            overrides=(
                painted("answered", GREEN),
                painted("gave up", RED),
                painted("time was over", ORANGE),
                painted("left by a key", BLUE),
                painted("lost", PURPLE),
            ),
            stacked=True,
            interval=_LATER,
        ),
        drawn(
            "Service level, by queue",
            "Share of callers answered within the queue's service level, of all who were answered"
            " or gave up later than that, in each quarter of an hour.",
            _served("$timeFilter"),
            width=12,
            unit="percentunit",
            no_value="no caller",
            gap_ms=3_600_000,
            interval=_QUARTER,
        ),
    ),
    (
        _times("Wait of answered callers", "Time that answered callers had waited.", "wait"),
        _times("Wait of callers who gave up", "Time after which callers gave up.", "gave_up"),
        _times("Talk time", "Time of a talk with an agent.", "talk"),
    ),
    (
        drawn(
            "Agents, by state",
            "Agents by state, summed over the chosen queues: one of two queues counts in both."
            " Orange dashes: the value may be wrong.",
            *summed(AGENTS.name, "count", "state", _CHOSEN, _TOGETHER, within=("queue",)),
            overrides=_STATES,
            no_value="no agent",
            step=True,
        ),
        _timed(
            table(
                "Agents by name",
                "Of the agents that the operator named: their state, and in the chosen time calls"
                " taken, calls not answered, and time of their talks.",
                live(
                    'SELECT last("status") AS "status", sum("answered") AS "answered",'
                    ' sum("unanswered") AS "unanswered", sum("talk_sum") AS "talk_sum" FROM'
                    f" {source(AGENTS.name, '$timeFilter', _CHOSEN, _BY_NAME)}"
                    f' GROUP BY "agent" SLIMIT {10 * MOST_SERIES}',
                    table=True,
                ),
                width=8,
                height=8,
                names={
                    "agent": "agent",
                    "status": "now",
                    "answered": "taken",
                    "unanswered": "missed",
                    "talk_sum": "talk",
                },
                sort="taken",
                no_value="no agent is named",
            )
        ),
        UNCOUNTED,
    ),
    variables=(asked("queue", "Queue", names(QUEUES.name, "queue"), ASTERISK_LIVE, many=True),),
)
