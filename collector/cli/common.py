"""Helpers of the commands: output, arguments with dates, settings, and readable errors."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, NoReturn, Self, TypeVar

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from collector.cli.exit_codes import ExitCode
from collector.days import day_named

if TYPE_CHECKING:
    from rich.progress import Progress

    from collector import settings
    from collector.influx import Influx

Result = TypeVar("Result")

out = Console()
err = Console(stderr=True)


def say(words: str) -> None:
    """Print a line to standard output, without markup or wrapping."""
    out.print(words, markup=False, highlight=False, soft_wrap=True)


def warn(words: str) -> None:
    """Print a line to standard error, without markup or wrapping."""
    err.print(words, markup=False, highlight=False, soft_wrap=True)


def fail(words: str, code: ExitCode = ExitCode.FAILED) -> NoReturn:
    """Print an error to standard error and exit with a status."""
    warn(words)
    raise typer.Exit(code)


class TextTable(Table):
    """A table whose cells are text, so that none is taken for markup; long ones are folded."""

    def add(self, *cells: object) -> None:
        """Add a row, whose first cell, such as an id, stays on one line."""
        self.columns[0].no_wrap = True
        self.add_row(*(Text(str(cell), overflow="fold") for cell in cells))

    @classmethod
    def narrow(cls, *columns: str) -> Self:
        """Make a table for 80 columns: without a frame."""
        table = cls(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for column in columns:
            table.add_column(column, overflow="fold")
        return table


def yes_no(value: bool) -> str:
    """A truth value as a table shows it."""
    return "yes" if value else "no"


def progress_bar() -> Progress:
    """A progress bar on standard error, for a terminal only."""
    from rich.progress import Progress

    return Progress(console=err, disable=not err.is_terminal)


def a_day(text: str) -> date:
    """Parse a date argument: YYYY-MM-DD, `today` or `yesterday` (UTC). Raises BadParameter."""
    try:
        return day_named(text, datetime.now(UTC).date())
    except ValueError:
        raise typer.BadParameter("must be YYYY-MM-DD, today or yesterday") from None


def a_duration(text: str | int) -> int:
    """Parse a duration such as `90d`, to seconds. Raises BadParameter."""
    from collector.setting_types import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def a_moment(text: str) -> datetime:
    """Parse a time argument: a date, `YYYY-MM-DDTHH:MM[:SS]` in UTC, or `6h` for 6 hours ago."""
    from collector.setting_types import parse_duration

    with suppress(ValueError):
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    with suppress(typer.BadParameter):
        text = a_day(text).isoformat()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            "must be YYYY-MM-DD, today, yesterday, YYYY-MM-DDTHH:MM or as 6h"
        ) from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


First = Annotated[date, typer.Option("--from", parser=a_day, metavar="DATE", help="first day, UTC")]
Last = Annotated[
    date | None, typer.Option("--to", parser=a_day, metavar="DATE", help="last day, included")
]
Force = Annotated[
    bool, typer.Option("--force", help="store a final day even if it loses over 20 %")
]


def days_between(first: date, last: date | None) -> list[date]:
    """The days from `first` to `last`, both included; only `first` if `last` is None."""
    end = last or first
    if end < first:
        raise typer.BadParameter("the last day is before the first", param_hint="--to")
    return [first + timedelta(days=n) for n in range((end - first).days + 1)]


def past_days(first: date, last: date | None) -> list[date]:
    """The days between two, none of which may be in the future."""
    days = days_between(first, last)
    if days[-1] > datetime.now(UTC).date():
        raise typer.BadParameter("the last day is in the future", param_hint="--to")
    return days


def load_settings(*, as_owner: bool = True) -> settings.Settings:
    """Load the settings and configure logging; exit with status 2 if a setting is invalid.

    A command that root runs continues as the owner of the state directory, unless `as_owner` is
    false: for commands that do not use that directory.
    """
    from collector import logs, settings

    try:
        configured = settings.load()
    except settings.SettingsError as error:
        fail(str(error), ExitCode.WRONG_SETTING)
    if as_owner:
        _become_owner(configured)
    logs.configure(form=configured.log_format, level=configured.log_level)
    for name, nearest in settings.unknown_variables().items():
        hint = f"; is {nearest} meant?" if nearest else ""
        warn(f"{name} is no setting of this version{hint}")
    return configured


def _become_owner(configured: settings.Settings) -> None:
    """Switch from root to the owner of the state directory, before anything in it is opened."""
    if os.geteuid() != 0:
        return
    from collector.identity import become_owner
    from collector.state import StateError

    try:
        name = become_owner(configured.state_dir)
    except StateError as error:
        fail(str(error))
    if name is not None:
        warn(f"running as {name}, to whom {configured.state_dir} belongs")


@contextmanager
def worded_errors() -> Iterator[None]:
    """Print an expected error as a sentence and exit with status 1."""
    try:
        yield
    except _expected() as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def with_influx(
    configured: settings.Settings,
    work: Callable[[Influx], Awaitable[Result]],
    guard: Callable[[], None] | None = None,
) -> Result:
    """Run `work` with a client of InfluxDB, which calls `guard` before it writes.

    Errors are those of `worded_errors`.
    """
    from collector.influx import allowed
    from collector.parts import influx_of

    async def worked() -> Result:
        async with influx_of(configured, guard=guard or allowed) as influx:
            return await work(influx)

    with worded_errors():
        return asyncio.run(worked())


def _expected() -> tuple[type[Exception], ...]:
    """Errors whose text is written for operators; imported only after an error was raised."""
    from collector.sqlite.errors import StoreUnavailable
    from collector.state import StateError

    expected: tuple[type[Exception], ...] = (StateError, StoreUnavailable, OSError)
    # A command that has not loaded a module cannot have got one of its errors.
    for module, error in (
        ("collector.backup.manifest", "BackupError"),
        ("collector.events.notes", "NoteError"),
        ("collector.history.asl3_dump", "DumpError"),
        ("collector.history.asl3_live", "DatabaseError"),
        ("collector.history.asl3_rows", "TableError"),
        ("collector.influx", "InfluxError"),
        ("collector.orders", "OrdersUnavailable"),
        ("collector.quarantine.batch", "QuarantineError"),
        ("collector.supervisor", "CannotWork"),
    ):
        if module in sys.modules:
            expected += (getattr(sys.modules[module], error),)
    return expected
