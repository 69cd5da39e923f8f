"""Renames a damaged outbox ("set aside") and starts a new one in its place.

`collector outbox recover` reads the reports of the renamed file. The new file is complete before
the old one is renamed, so that a crash in between loses neither.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from collector.outbox import salvage
from collector.outbox.errors import OutboxDamaged, OutboxUnavailable, translated_errors
from collector.outbox.file import FILE, OutboxFile
from collector.outbox.rows import Entry, Pending
from collector.sqlite.carve import log_is_damaged
from collector.sqlite.lock import directory_lock, log_of, sync

if TYPE_CHECKING:
    from collector.metrics import Metrics

log = structlog.get_logger("collector.outbox")

T = TypeVar("T")

_FRESH: Final = "outbox.new"
_SUSPECT: Final = "outbox.suspect"
_LONGEST_CHECK_S: Final = 5.0
_RECOVERED: Final = ".recovered-"
_CARRIED: Final = ".carried"
_FORM: Final = "%Y%m%dT%H%M%S.%fZ"


def set_aside(directory: Path) -> list[Path]:
    """List the damaged outboxes in a state directory that are not yet recovered, oldest first."""
    return _outboxes(directory.glob(f"{FILE}.damaged-*"))


def aside_name(path: Path) -> Path:
    """Return the path that an outbox gets if it is set aside now: `….damaged-<UTC time>`."""
    return path.with_name(f"{path.name}.damaged-{datetime.now(UTC):{_FORM}}")


def check_at_start(path: Path, metrics: Metrics) -> None:
    """Check the outbox at a process's start, and set it aside if it is damaged.

    Raises OutboxUnavailable if it is intact but cannot be used, such as a newer version's file.
    """
    with translated_errors():
        _finish(path)
        why = suspicion(path) or _damage(path)
    if why is not None:
        replace_damaged(path, why)
    metrics.outboxes_set_aside.set(len(set_aside(path.parent)))


def read_at_start(path: Path, metrics: Metrics, read: Callable[[OutboxFile], T]) -> T:
    """Return what `read` finds in the outbox that `check_at_start` has checked.

    Pages may be intact and a row damaged: if `read` meets one, the outbox is set aside and the new
    one is read. Raises OutboxUnavailable.
    """
    try:
        with OutboxFile(path) as file:
            return read(file)
    except OutboxDamaged as error:
        replace_damaged(path, str(error))
    metrics.outboxes_set_aside.set(len(set_aside(path.parent)))
    with OutboxFile(path) as file:
        return read(file)


def suspect(path: Path) -> None:
    """Mark an outbox as damaged for the process that owns it. Raises OSError."""
    path.with_name(_SUSPECT).touch(mode=0o600)


def suspicion(path: Path) -> str | None:
    """Return why to set the outbox aside if another process marked it with `suspect`, else None."""
    if path.with_name(_SUSPECT).exists():
        return "another process found it damaged"
    return None


def replace_damaged(path: Path, why: str, carried: Sequence[Pending] = ()) -> None:
    """Set the outbox at `path` aside and start a new one. This process must have closed it.

    `carried` are undelivered entries of the damaged file, copied into the new one. Their numbers
    are written to a file beside the damaged one, so that a recovery does not count them as lost.
    Raises OutboxUnavailable if this cannot be done now.
    """
    directory = path.parent
    aside = aside_name(path)
    with translated_errors(), directory_lock(directory, exclusive=True):
        try:
            legacy, last = salvage.other_content(path)
        except OSError as error:
            legacy, last = {}, 0
            why = f"{why}; {error.strerror}"
        fresh = directory / _FRESH
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        with OutboxFile(fresh / FILE) as file, file.transaction():
            # The acknowledgement of a batch read from the old file must match no row of the new.
            file.begin_at(max(last + 1, time.time_ns() // 1000))
            file.put_legacy(legacy)
            file.insert(*(Entry(*entry[1:]) for entry in carried))
        _replace(path, aside)
        if _has_bytes(log_of(path)):
            _replace(log_of(path), log_of(aside))
        log_of(path).unlink(missing_ok=True)
        Path(f"{path}-shm").unlink(missing_ok=True)
        if carried:
            numbers = "\n".join(str(entry.id) for entry in carried)
            carried_of(aside).write_text(numbers, encoding="ascii")
        _finish(path)
        path.with_name(_SUSPECT).unlink(missing_ok=True)
    log.error(
        "the outbox is damaged: it is set aside and a new one begun; get the reports out with"
        " `collector outbox recover`",
        reason="set-aside",
        file=aside.name,
        why=why,
        carried=len(carried),
    )


def _finish(path: Path) -> None:
    """Move a complete new file into place; delete an incomplete one."""
    fresh = path.parent / _FRESH
    if (fresh / FILE).exists() and not path.exists():
        # After a crash in between, the log of the old file is still under its first name.
        if log_of(path).exists() and (asides := set_aside(path.parent)):
            _replace(log_of(path), log_of(asides[-1]))
        _replace(fresh / FILE, path)
        sync(path.parent)
    if fresh.exists():
        shutil.rmtree(fresh)


def _damage(path: Path) -> str | None:
    """Describe the damage of an outbox; None if it is intact or does not exist yet."""
    log_file = log_of(path)
    if not path.exists():
        return "its file is gone and its log is not" if _has_bytes(log_file) else None
    if not path.is_file():
        return "it is no file"
    for one in (path, log_file, Path(f"{path}-shm")):
        if one.exists() and not os.access(one, os.R_OK | os.W_OK):
            return f"there is no permission to read and write {one.name}"
    if not _has_bytes(path):
        return "its file is empty"
    if log_file.exists() and log_is_damaged(log_file):
        return "its log is broken before its end"
    try:
        with OutboxFile(path) as file:
            file.check(most_s=_LONGEST_CHECK_S)
    except OutboxDamaged as error:
        return str(error)
    return None


def carried_of(aside: Path) -> Path:
    """Return the path of the file that lists the entries carried over into the new outbox."""
    return Path(f"{aside}{_CARRIED}")


def carried_numbers(aside: Path) -> set[int]:
    """Return the numbers of the entries carried over from a damaged outbox into the new one."""
    try:
        return {int(line) for line in carried_of(aside).read_text(encoding="ascii").splitlines()}
    except (FileNotFoundError, ValueError):
        # A recovery then stores these entries twice, and InfluxDB overwrites equal points.
        return set()


def _has_bytes(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _replace(old: Path, new: Path) -> None:
    if old.exists():
        old.replace(new)


def mark_recovered(aside: Path) -> Path:
    """Rename an outbox from "damaged" to "recovered" and return its new path."""
    done = aside.with_name(aside.name.replace(".damaged-", _RECOVERED))
    with translated_errors():
        _replace(aside, done)
        _replace(log_of(aside), log_of(done))
        _replace(carried_of(aside), carried_of(done))
    return done


def all_set_aside(directory: Path) -> list[Path]:
    """List the outboxes of a directory that were set aside, recovered ones included."""
    return sorted([*set_aside(directory), *_outboxes(directory.glob(f"{FILE}{_RECOVERED}*"))])


def _outboxes(paths: Iterable[Path]) -> list[Path]:
    """Return the outboxes that files belong to, also if only their logs are among them."""
    found = {path.with_name(path.name.removesuffix("-wal")) for path in paths}
    return sorted(path for path in found if path.suffix != _CARRIED)


def set_aside_at(aside: Path) -> int:
    """Return when a file was set aside, in ns since 1970: by its name, else by its change time."""
    try:
        moment = datetime.strptime(aside.name.rpartition("-")[2], _FORM).replace(tzinfo=UTC)
    except ValueError:
        return aside.stat().st_ctime_ns if aside.exists() else 0
    return int(moment.timestamp() * 1e9)


def delete_aside(aside: Path) -> None:
    """Delete a file that was set aside, with its log and its list. Raises OSError."""
    for path in (aside, log_of(aside), carried_of(aside)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def check_droppable(path: Path) -> None:
    """Raise OutboxUnavailable unless `path` is an outbox that was set aside or recovered."""
    if path not in all_set_aside(path.parent):
        raise OutboxUnavailable(f"{path} is no outbox that was set aside")


def check_recoverable(path: Path) -> None:
    """Raise OutboxUnavailable if there is no file at `path`, or if it is the outbox in use."""
    if not path.exists() and not log_of(path).exists():
        raise OutboxUnavailable(f"{path} is not there")
    if path.name == FILE:
        raise OutboxUnavailable(f"{path} is the outbox in use: it is not set aside")
