"""The records store in SQLite or PostgreSQL (SQLAlchemy Core). Every call blocks."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from collector.days import day_of
from collector.records import FILE
from collector.records.errors import (
    RecordsDenied,
    RecordsError,
    RecordsRejected,
    RecordsUnavailable,
)
from collector.records.migrations import migrate
from collector.records.record import Record
from collector.records.tables import FINDINGS, RECORDS
from collector.sqlite.lock import log_of

_PATIENCE_S: Final = 20
"""Longest wait for an answer of the server, or for another writer of an SQLite file, in s."""
_ROWS: Final = 500
_DAY_NS: Final = 86_400 * 10**9
_MIGRATION_LOCK: Final = 0x7265636F726473
"""Number of the advisory lock that a migration holds in PostgreSQL: `records` in ASCII."""
_MIGRATING: Final = threading.Lock()
"""Held by the one thread that migrates: Alembic's context is global in a process."""
_WRONG_VALUES: Final = ("22", "23", "54")
_DENIED: Final = ("28", "3D", "3F", "42501")
"""Beginnings of SQLSTATE codes of denied access (PostgreSQL's documentation, appendix A)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a parser for the payload of the record with this stamp."""

    stamp: int
    parser: str
    version: str
    kind: str
    label: str
    detail: str


@dataclass(frozen=True, slots=True)
class Contents:
    """Number of records in the store, stamps of the oldest and the newest, and bytes on disk."""

    records: int
    oldest_ns: int | None
    newest_ns: int | None
    disk_bytes: int | None


class RecordsStore:
    """The records store at a URL of SQLAlchemy, or an SQLite file in `directory` without one.

    Every method raises RecordsUnavailable, RecordsDenied or RecordsRejected. The constructor
    connects to nothing; it raises RecordsError for a URL that it cannot use.
    """

    def __init__(self, url: str, *, directory: Path) -> None:
        self._url, options = _parsed(url, directory)
        self._is_file = self._url.get_backend_name() == "sqlite"
        self._engine = sa.create_engine(
            self._url, pool_pre_ping=not self._is_file, connect_args=options, hide_parameters=True
        )
        if self._is_file:
            sa.event.listen(self._engine, "connect", _set_pragmas)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def prepare(self) -> None:
        """Create the tables or bring them to the newest version."""
        if self._is_file and (path := self._url.database):
            with _worded():
                Path(path).touch(mode=0o600)
        try:
            with _MIGRATING, self._connected() as connection:
                if not self._is_file:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
                migrate(connection)
        except RecordsRejected as error:
            # SQLite commits each statement by itself: two processes met in the middle.
            raise RecordsUnavailable("another process makes the tables of the records") from error

    def ping(self) -> None:
        """Check that the store answers."""
        with self._connected() as connection:
            connection.execute(sa.select(1))

    def add(self, records: Sequence[Record], findings: Sequence[Finding] = ()) -> None:
        """Store records and findings in one transaction; those already stored stay unchanged."""
        insert = sqlite.insert if self._is_file else postgresql.insert
        with self._connected() as connection:
            for table, rows in ((RECORDS, records), (FINDINGS, findings)):
                if rows:
                    statement = insert(table).on_conflict_do_nothing(index_elements=["stamp"])
                    connection.execute(statement, [asdict(row) for row in rows])

    def rows(self, query: sa.Select[*tuple[Any, ...]]) -> list[Mapping[str, Any]]:
        """Return the rows of a query."""
        with self._connected() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def replace_findings(self, findings: Sequence[Finding], *, of: Sequence[int]) -> None:
        """Replace the findings of the records with these stamps."""
        with self._connected() as connection:
            connection.execute(sa.delete(FINDINGS).where(FINDINGS.c.stamp.in_(of)))
            # A record may have been purged or erased meanwhile.
            present = set(
                connection.scalars(sa.select(RECORDS.c.stamp).where(RECORDS.c.stamp.in_(of)))
            )
            rows = [asdict(one) for one in findings if one.stamp in present]
            if rows:
                connection.execute(FINDINGS.insert(), rows)

    def purge(self, *, before_ns: int) -> int:
        """Delete at most 500 records received before a time; return their number."""
        old = sa.select(RECORDS.c.id).where(RECORDS.c.stamp < before_ns).limit(_ROWS)
        return self._delete(RECORDS.c.id.in_(old))

    def by_day(self, *, before_ns: int) -> dict[date, int]:
        """Return the number of records received before a time, by UTC day."""
        number = sa.cast(RECORDS.c.stamp - RECORDS.c.stamp % _DAY_NS, sa.BigInteger) // _DAY_NS
        query = (
            sa.select(number.label("day"), sa.func.count().label("records"))
            .where(RECORDS.c.stamp < before_ns)
            .group_by("day")
            .order_by("day")
        )
        return {day_of(int(row["day"]) * _DAY_NS): row["records"] for row in self.rows(query)}

    def of_owner(self, owner: str) -> list[Mapping[str, Any]]:
        """Return all records of an owner without their payloads, oldest first."""
        columns = [column for column in RECORDS.c if column.name != "payload"]
        size = sa.func.length(RECORDS.c.payload).label("payload_bytes")
        query = sa.select(*columns, size).where(RECORDS.c.owner == owner).order_by(RECORDS.c.id)
        return self.rows(query)

    def count_of(self, owner: str, *, until_ns: int) -> int:
        """Return the number of an owner's records received up to a time."""
        query = sa.select(sa.func.count()).where(
            RECORDS.c.owner == owner, RECORDS.c.stamp <= until_ns
        )
        with self._connected() as connection:
            return int(connection.scalar(query) or 0)

    def erase(self, owner: str, *, until_ns: int) -> int:
        """Delete an owner's records received up to a time; return their number."""
        count = self._delete((RECORDS.c.owner == owner) & (RECORDS.c.stamp <= until_ns))
        if count:
            self._forget_deleted()
        return count

    def contents(self) -> Contents:
        """Return the number of records and their size on disk."""
        query = sa.select(
            sa.func.count(), sa.func.min(RECORDS.c.stamp), sa.func.max(RECORDS.c.stamp)
        )
        size = None
        with self._connected() as connection:
            count, oldest, newest = connection.execute(query).one()
            if not self._is_file:
                sizes = [
                    sa.func.pg_total_relation_size(table.name) for table in (RECORDS, FINDINGS)
                ]
                size = sum(connection.execute(sa.select(*sizes)).one())
        if self._is_file and (path := self._url.database):
            files = (Path(path), log_of(Path(path)))
            size = sum(file.stat().st_size for file in files if file.exists())
        return Contents(int(count), oldest, newest, size)

    def _delete(self, where: Any) -> int:  # noqa: ANN401 - SQLAlchemy's conditions have many types
        with self._connected() as connection:
            return connection.execute(sa.delete(RECORDS).where(where)).rowcount

    def _forget_deleted(self) -> None:
        """Make the server free or overwrite deleted rows, as far as it can."""
        with _worded(), self._engine.connect() as connection:
            if self._is_file:
                connection.execute(sa.text("PRAGMA incremental_vacuum"))
                connection.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
            else:
                # The driver begins a transaction before each statement, and VACUUM allows none.
                driver: Any = connection.connection.driver_connection
                driver.rollback()
                driver.autocommit = True
                try:
                    connection.execute(sa.text("VACUUM records, findings"))
                finally:
                    driver.autocommit = False

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        """A connection in a transaction, which is committed at the end of the block."""
        with _worded(), self._engine.begin() as connection:
            try:
                yield connection
            except (ValueError, OverflowError):
                # The driver stopped in the middle of a message: the connection is unusable.
                connection.invalidate()
                raise


def _parsed(url: str, directory: Path) -> tuple[URL, dict[str, Any]]:
    """The URL with its driver, and the driver's options."""
    try:
        found = make_url(url or f"sqlite:///{(directory / FILE).absolute()}")
    except (ArgumentError, ValueError):
        raise RecordsError("COLLECTOR_RECORDS_URL is no URL of a database") from None
    match found.get_backend_name():
        case "sqlite":
            return found, {"timeout": _PATIENCE_S}
        case "postgresql":
            tls = found.query.get("sslmode", "disable")
            plain = found.set(drivername="postgresql+pg8000").difference_update_query(["sslmode"])
            return plain, {"timeout": _PATIENCE_S, "ssl_context": _tls(str(tls))}
    raise RecordsError("COLLECTOR_RECORDS_URL must begin with sqlite:/// or postgresql://")


def _tls(mode: str) -> ssl.SSLContext | None:
    """The context for a mode as PostgreSQL's own clients name it."""
    if mode == "disable":
        return None
    context = ssl.create_default_context()
    if mode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif mode != "verify-full":
        raise RecordsError("sslmode must be disable, require or verify-full")
    return context


def _set_pragmas(connection: Any, _record: object) -> None:  # noqa: ANN401 - of any driver
    # Deleted rows are overwritten with zeros; vacuuming returns free pages to the disk.
    for pragma in (
        "auto_vacuum=INCREMENTAL",
        "journal_mode=WAL",
        "synchronous=FULL",
        "secure_delete=ON",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


@contextlib.contextmanager
def _worded() -> Iterator[None]:
    """Re-raise errors of SQLAlchemy, the drivers and the disk as those of the records store."""
    try:
        yield
    except DBAPIError as error:
        raise _sorted(error) from error
    except (ValueError, OverflowError) as error:
        # Of a driver that cannot express a value, such as a surrogate alone in a text.
        raise RecordsRejected(f"a value cannot be stored: {type(error).__name__}") from error
    except (SQLAlchemyError, OSError) as error:
        raise RecordsUnavailable(f"the records store cannot be used: {error}") from error


def _sorted(error: DBAPIError) -> RecordsError:
    told = error.orig.args[0] if error.orig is not None and error.orig.args else ""
    if isinstance(told, dict):
        # A reply of PostgreSQL: fields by letter (its documentation, section 55.8).
        code, words = str(told.get("C", "")), str(told.get("M", ""))
        if code.startswith(_WRONG_VALUES):
            return RecordsRejected(words)
        if code.startswith(_DENIED):
            return RecordsDenied(words)
        return RecordsUnavailable(f"the records store cannot be used: {words}")
    name = type(error).__name__
    if name in ("IntegrityError", "DataError"):
        return RecordsRejected(str(told))
    return RecordsUnavailable(f"the records store cannot be used: {told or name}")
