"""The published series as a table and charts for a terminal of 80 columns. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from collector.public.series import UsageDay
from collector.schema import OTHER

WIDTH: Final = 78
_HEIGHT: Final = 12
_BAR: Final = 10
_LONGEST_BAR_NAME: Final = 13
_WEEK: Final = 7
_COLUMNS: Final = (
    ("nodes", "nodes"),
    ("in 7 days", "nodes_7d"),
    ("in 30 days", "nodes_30d"),
    ("new", "new_nodes"),
    ("servers", "servers"),
    ("reports", "reports"),
)
_ASCII_FRAME: Final = str.maketrans("─│┌┐└┘┤┬", "-|++++|+")
_DAY_COLOUR: Final = "cyan"
_WEEK_COLOUR: Final = "yellow"


def day_table(days: Sequence[UsageDay]) -> Table:
    """A table with a row per day, in the given order; fields that no day has are left out."""
    columns = [each for each in _COLUMNS if any(each[1] in day.fields for day in days)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("day (UTC)", no_wrap=True)
    for title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for day in days:
        cells = [f"{day.fields[name]:,}" if name in day.fields else "-" for _, name in columns]
        date = day.day.isoformat() + ("" if day.final else " so far")
        table.add_row(date, *cells, style="" if day.final else "dim")
    return table


def _live(field: str, measurement: str, condition: str = "") -> str:
    """The last values of a gauge in the last minute, summed by Asterisk."""
    where = f"time > now() - 1m{f' AND {condition}' if condition else ''}"
    return (
        f'SELECT sum("value") FROM (SELECT last("{field}") AS "value" FROM "{measurement}"'  # noqa: S608 - of words in this file
        f' WHERE {where} GROUP BY *) GROUP BY "asterisk"'
    )


LIVE_COLUMNS: Final = {
    "channels": _live("count", "channels"),
    "calls": _live("calls", "calls"),
    "waiting": _live("waiting", "queues"),
    "agents": _live("members", "queues"),
    "contacts": _live("count", "pjsip_contacts", '"state" =~ /able$/'),
    "attacks": 'SELECT sum("count") FROM "security" WHERE time > now() - 5m'
    ' AND "kind" != \'SuccessfulAuth\' AND "kind" != \'ChallengeSent\' GROUP BY "asterisk"',
}
"""Columns of the table of Asterisks: title, and the query that gives its value by Asterisk."""


def live_table(asterisks: Mapping[str, Mapping[str, float]]) -> Table:
    """A table with a row per Asterisk, of the values that are known by column."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Asterisk", no_wrap=True)
    for title in LIVE_COLUMNS:
        table.add_column(title, justify="right", no_wrap=True)
    for name, values in asterisks.items():
        cells = [f"{values[title]:,.0f}" if title in values else "-" for title in LIVE_COLUMNS]
        table.add_row(name, *cells)
    return table


def node_chart(days: Sequence[UsageDay], *, ascii_only: bool) -> Text:
    """A chart of the nodes per day and, if known, per 7 days; it needs at least one day."""
    lines = [(0, [day.fields.get("nodes", 0) for day in days], _DAY_COLOUR, "*")]
    # Windows of the first week begin before the series and would show a false rise.
    weeks = [day.fields.get("nodes_7d", 0) for day in days][_WEEK - 1 :]
    if all(weeks) and len(weeks) > 1:
        lines.append((_WEEK - 1, weeks, _WEEK_COLOUR, "x"))
    drawn = [value for _, values, *_ in lines for value in values]
    margin = max(1, (max(drawn) - min(drawn)) // 20)
    least, most = max(0, min(drawn) - margin), max(drawn) + margin
    levels = _levels(least, most)
    # It is slow to import, which would delay every command.
    import plotext  # noqa: PLC0415

    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(WIDTH, _HEIGHT)
    for first, values, colour, letter in lines:
        marker = plotext.marker(letter if ascii_only else "braille", pixel=colour)
        signal = figure.signal(list(range(first, first + len(values))), values, marker=marker)
        figure.draw(signal.lines())
    dated = sorted({round(n * (len(days) - 1) / 4) for n in range(5)})
    figure.ruler("x", 0).ticks(dated, [f"{days[n].day:%d %b}" for n in dated])
    figure.ruler("y", 0).ticks(levels, [f"{level:,}" for level in levels])
    figure.ruler("y", 0).lim(least, most)
    legend = Text("lower line: in the day", style=_DAY_COLOUR)
    if len(lines) > 1:
        legend.append("   upper line: in the last 7 days", style=_WEEK_COLOUR)
    if least:
        legend.append("   (not from 0)", style="dim")
    drawing = figure.build().string().rstrip()
    if ascii_only:
        drawing = drawing.translate(_ASCII_FRAME)
    return legend.append("\n").append_text(Text.from_ansi(drawing))


def beside(pictures: Mapping[str, RenderableType]) -> Table:
    """A table that shows pictures side by side, each under its title."""
    table = Table.grid(padding=(0, 3), pad_edge=False)
    table.add_row(*(Text(title) for title in pictures))
    table.add_row(*pictures.values())
    return table


def bars(counts: Mapping[str, int], *, ascii_only: bool) -> Table:
    """A bar chart of counts, greatest first, with `other` at the end."""
    total, most = sum(counts.values()), max(counts.values(), default=0)
    table = Table.grid(padding=(0, 1), pad_edge=False)
    table.add_column(no_wrap=True, max_width=_LONGEST_BAR_NAME, overflow="crop")
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, justify="right")
    for value in sorted(counts, key=lambda name: (name == OTHER, -counts[name], name)):
        count = counts[value]
        bar = ("#" if ascii_only else "█") * max(1, round(_BAR * count / most))
        style = "dim" if value == OTHER else _DAY_COLOUR
        table.add_row(Text(value), Text(bar, style=style), f"{count:,}", f"{count / total:.0%}")
    return table


def _levels(least: int, most: int) -> list[int]:
    """Up to seven round numbers from `least` to `most`, for the axis."""
    steps = (digit * 10**power for power in range(9) for digit in (1, 2, 5))
    step = next(step for step in steps if step * 7 > most - least)
    return list(range(-(-least // step) * step, most + 1, step))
