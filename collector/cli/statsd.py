"""`collector statsd …`: show what datagrams of StatsD would become."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.commands import Commands
from collector.cli.common import TextTable, fail, load_settings, out, say
from collector.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collector.intakes.statsd.aggregate import Aggregator
    from collector.intakes.statsd.mapping import NameMapping
    from collector.lines import Point
    from collector.settings import Settings

commands = Commands(
    no_args_is_help=True, help="Show what datagrams of StatsD become, without storing them."
)


@commands.callback()
def group() -> None:
    """Keep `try` a command of a group: a group of one command would be that command itself."""


@commands.command(
    name="try",
    examples=[
        "collector statsd try datagrams.txt",
        "collector statsd try --mapping new.yml --lines datagrams.txt",
        "echo 'PJSIP.contacts.states.Reachable:3|g' | collector statsd try -",
    ],
)
def try_(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(
            help="datagrams, one a line, as they are (`calls:1|c`) or as in a capture (seconds,"
            " tab, Python's bytes); `-`: standard input"
        ),
    ],
    mapping: Annotated[
        Path | None,
        typer.Option(
            "--mapping",
            dir_okay=False,
            help="mapping file to try; without it COLLECTOR_STATSD_MAPPING",
        ),
    ] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="print line protocol, of each flush of a capture")
    ] = False,
) -> None:
    """Show which points the datagrams of FILE would become, and what would be dropped and why.

    Nothing is stored, and no socket is opened. A capture goes through the flushes that it would
    have had; the table shows each series as it is in the last flush that has it, a counter its sum.
    """
    from collector.intakes.statsd.aggregate import Aggregator
    from collector.intakes.statsd.trial import NotCaptured, arrivals, flushes

    configured = load_settings(as_owner=False)
    aggregator = Aggregator("default", _mapping(configured, mapping))
    try:
        found = list(
            flushes(
                aggregator,
                arrivals(file),
                begun_ns=time.time_ns(),
                interval_s=configured.statsd_flush,
            )
        )
    except NotCaptured as error:
        fail(str(error))
    if lines:
        from collector.lines import line, tag_set

        for point in chain(*found):
            say(line(point.measurement, tag_set(point.tags), point.fields, point.time))
    else:
        _print_table(found)
    _print_counts(aggregator)


def _mapping(configured: Settings, file: Path | None) -> NameMapping:
    from collector.intakes.statsd.intake import mapping_of
    from collector.settings import SettingsError

    chosen = {} if file is None else {"statsd_mapping": str(file)}
    try:
        return mapping_of(configured.model_copy(update=chosen))
    except SettingsError as error:
        fail(str(error), ExitCode.WRONG_SETTING)


def _print_table(found: Iterable[Iterable[Point]]) -> None:
    """Print each series once: the newest fields, of a counter the sum."""
    from collector.schema.live import STATSD_COUNTER, STATSD_TRAFFIC

    rows: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, int | float | str]] = {}
    for points in found:
        for point in points:
            if point.measurement == STATSD_TRAFFIC.name:
                continue
            key = (point.measurement, tuple(sorted(point.tags.items())))
            before, fields = rows.get(key, {}), dict(point.fields)
            if point.measurement == STATSD_COUNTER.name:
                fields = {name: _plus(before.get(name, 0), value) for name, value in fields.items()}
            rows[key] = fields
    table = TextTable.narrow("measurement", "tags", "fields")
    for (measurement, tags), fields in sorted(rows.items()):
        table.add(
            measurement,
            "\n".join(f"{name}={value}" for name, value in tags if name != "asterisk"),
            "\n".join(f"{name}={_shown(value)}" for name, value in fields.items()),
        )
    out.print(table)


def _plus(one: float | str, other: float | str) -> float | str:
    return one + other if not isinstance(one, str) and not isinstance(other, str) else other


def _shown(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _print_counts(aggregator: Aggregator) -> None:
    counts = aggregator.counts
    say(f"{counts.samples} samples taken")
    for reason, count in sorted(counts.drops.items()):
        say(f"{count} dropped: {reason}")
    for part, count in sorted(counts.ignored.items()):
        say(f"{count} with a part ignored: {part}")
    for count, words in (
        (
            counts.underflows,
            "times a gauge would have fallen under 0 (docs/senders/asterisk-statsd.md)",
        ),
        (counts.restarts, "starts of Asterisk recognised"),
        (counts.meter_support, "samples renamed by meter_support=no, taken under their own names"),
    ):
        if count:
            say(f"{count} {words}")
