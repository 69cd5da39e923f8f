"""Helpers of the commands: output, arguments with dates, settings, and readable errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.console import Console

from collector.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from rich.progress import Progress

    from collector import settings

out = Console()
err = Console(stderr=True)


def say(words: str) -> None:
    """Print a line to standard output, without markup or wrapping."""
    out.print(words, markup=False, highlight=False, soft_wrap=True)


def warn(words: str) -> None:
    """Print a line to standard error, without markup or wrapping."""
    err.print(words, markup=False, highlight=False, soft_wrap=True)


def fail(words: str) -> NoReturn:
    """Print an error to standard error and exit with status 1."""
    warn(words)
    raise typer.Exit(ExitCode.FAILED)


def progress_bar() -> Progress:
    """A progress bar on standard error, for a terminal only."""
    from rich.progress import Progress

    return Progress(console=err, disable=not err.is_terminal)


def a_day(text: str) -> date:
    """Parse a date argument: YYYY-MM-DD, `today` or `yesterday` (UTC). Raises BadParameter."""
    today = datetime.now(UTC).date()
    match text:
        case "today":
            return today
        case "yesterday":
            return today - timedelta(days=1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("must be YYYY-MM-DD, today or yesterday") from None


def a_moment(text: str) -> datetime:
    """Parse a time argument: `YYYY-MM-DD[THH:MM[:SS]]` in UTC, or `6h` for 6 hours ago."""
    from collector.setting_types import parse_duration

    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("must be YYYY-MM-DD, YYYY-MM-DDTHH:MM or as 6h") from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def days_between(first: date, last: date | None) -> list[date]:
    """The days from `first` to `last`, both included; only `first` if `last` is None."""
    end = last or first
    if end < first:
        raise typer.BadParameter("the last day is before the first", param_hint="--to")
    return [first + timedelta(days=n) for n in range((end - first).days + 1)]


def load_settings(*, as_owner: bool = True) -> settings.Settings:
    """Load the settings and configure logging; exit with status 2 if a setting is invalid.

    A command that root runs continues as the owner of the state directory, unless `as_owner` is
    false: for commands that do not use that directory.
    """
    from collector import logs, settings

    try:
        configured = settings.load()
    except settings.SettingsError as error:
        warn(str(error))
        raise typer.Exit(ExitCode.WRONG_SETTING) from None
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


def _expected() -> tuple[type[Exception], ...]:
    """Errors whose text is written for operators; imported only after an error was raised."""
    from collector.sqlite.errors import StoreUnavailable
    from collector.state import StateError

    expected: tuple[type[Exception], ...] = (StateError, StoreUnavailable, OSError)
    if "collector.orders" in sys.modules:
        from collector.orders import OrdersUnavailable

        expected += (OrdersUnavailable,)
    # A command that has not loaded the client cannot have got one of its errors.
    if "collector.influx" in sys.modules:
        from collector.influx import InfluxError

        expected += (InfluxError,)
    return expected
