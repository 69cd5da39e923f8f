"""`collector backup` and `collector restore`."""

from __future__ import annotations

from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.common import fail, load_settings, progress_bar, say, with_influx, worded_errors

if TYPE_CHECKING:
    from collector.backup.manifest import Manifest
    from collector.backup.restore import Comparison
    from collector.influx import Influx
    from collector.settings import Settings

_LISTED = 5


def backup(
    directory: Annotated[
        Path, typer.Argument(help="the directory to create; must not exist", show_default=False)
    ],
    with_key: Annotated[
        bool,
        typer.Option("--with-key", help="include the pseudonym key; the backup is then secret"),
    ] = False,
) -> None:
    """Back up the daily series and the settings into a new directory, without raw reports."""
    configured = load_settings()
    with worded_errors():
        key = configured.key_file.read_bytes() if with_key else None
    made = with_influx(configured, partial(_save, configured, directory, key))
    say(f"{directory}: {_summary(made)}, counted again by InfluxDB")
    say(
        "Not included: raw reports (they are stored for a promised time only, and a copy would"
        " outlive that), undelivered reports, secrets"
        + ("" if with_key else ", the pseudonym key (--with-key)")
    )


def restore(
    directory: Annotated[Path, typer.Argument(help="a backup", show_default=False)],
    force: Annotated[
        bool, typer.Option("--force", help="overwrite days for which InfluxDB holds other numbers")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check and compare; write nothing")
    ] = False,
) -> None:
    """Restore the daily series of a backup, and its pseudonym key if it has one."""
    from collector.backup.manifest import read_manifest

    configured = load_settings()
    with worded_errors():
        made = read_manifest(directory)
    say(f"{directory}: {_summary(made)}, made {made.made:%Y-%m-%d}, checksums correct")
    work = partial(_restore, configured, directory, made, force=force, dry_run=dry_run)
    with_influx(configured, work)


async def _save(
    configured: Settings, directory: Path, key: bytes | None, influx: Influx
) -> Manifest:
    from collector.backup.save import save
    from collector.settings import SECRETS, shown, variable

    hidden = {variable(name) for name in SECRETS}
    settings = {name: value for name, value in shown(configured).items() if name not in hidden}
    with progress_bar() as bar:
        task = bar.add_task("backing up", total=None)

        def progress(month: date, total: int) -> None:
            bar.update(task, advance=1, total=total, description=f"backing up {month:%Y-%m}")

        return await save(influx, directory, settings=settings, key=key, progress=progress)


async def _restore(
    configured: Settings,
    directory: Path,
    made: Manifest,
    influx: Influx,
    *,
    force: bool,
    dry_run: bool,
) -> None:
    from collector.backup.manifest import KEY_FILE
    from collector.backup.restore import Restore, restore_key
    from collector.influx.databases import ensure, retentions
    from collector.schema import DAILY

    with progress_bar() as bar:
        task = bar.add_task("restoring", total=None)

        def progress(step: str, total: int) -> None:
            bar.update(task, advance=1, total=total, description=step)

        if not dry_run:
            await ensure(influx, {DAILY: configured.retention_daily})
        elif (await retentions(influx, (DAILY,)))[DAILY] is None:
            say(f"{influx.name(DAILY)} does not exist yet: all of it would be written")
            return
        work = Restore(influx, directory, made, progress)
        found = await work.compare()
        if found.conflicts and not force:
            fail(_refusal(found))
        if dry_run:
            say(f"{found.missing} times would be written, {len(found.conflicts)} overwritten")
            return
        # The key comes first: if another key is in use, nothing may be written.
        if KEY_FILE in made.files:
            new = restore_key(directory, configured.key_file)
            say(f"{configured.key_file}: {'restored' if new else 'unchanged'}")
        await work.write(found)
    say(
        f"restored {made.total} points ({found.missing} times were missing,"
        f" {len(found.conflicts)} overwritten); InfluxDB now holds the backup"
    )


def _refusal(found: Comparison) -> str:
    days = found.days()
    more = f" and {len(days) - _LISTED} more" if len(days) > _LISTED else ""
    return (
        f"InfluxDB holds other numbers for {', '.join(days[:_LISTED])}{more}; --force overwrites"
        " them with the backup's"
    )


def _summary(made: Manifest) -> str:
    if made.first is None or made.last is None:
        return "no daily series yet"
    return f"{made.total} points, {made.first.isoformat()} to {made.last.isoformat()}"
