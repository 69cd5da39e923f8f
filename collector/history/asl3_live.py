"""Reader for a running ASL3-Usage database (MariaDB or MySQL); it never writes."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
from pymysql.converters import encoders
from pymysql.cursors import SSCursor

from collector.history.asl3_dump import Row

_SCHEMES: Final = ("mysql", "mariadb")
_PORT: Final = 3306
_SECTION: Final = "web"
_CONNECT_S: Final = 10
_READ_S: Final = 600
# Literal statements, so that no outside name can get into SQL.
_SELECT: Final = {"asl_usage": "SELECT * FROM asl_usage", "nodes": "SELECT * FROM nodes"}
TABLES: Final = tuple(_SELECT)
"""Tables that can be read."""


class DatabaseError(Exception):
    """The DSN is invalid or the database cannot be read; the text holds no password."""


@dataclass(frozen=True, slots=True)
class Dsn:
    """Address of a database and the user that reads it."""

    host: str
    port: int
    user: str
    database: str
    password: str = field(default="", repr=False)
    unix_socket: str | None = None
    ssl_ca: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `mysql://user[:password]@host[:port]/database[?unix_socket=…&ssl_ca=…]`.

        Special characters are percent-encoded. Raises DatabaseError, without the DSN, which may
        hold a password.
        """
        try:
            parts = urlsplit(text)
            port = parts.port or _PORT
            more = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        except ValueError:
            raise DatabaseError(
                "the DSN is not a URL such as mysql://user@host:3306/database"
            ) from None
        if parts.scheme not in _SCHEMES or not parts.username or not parts.path.strip("/"):
            raise DatabaseError("the DSN must have the form mysql://user@host:3306/database")
        if unknown := sorted(more.keys() - {"unix_socket", "ssl_ca"}):
            raise DatabaseError(f"the DSN takes unix_socket and ssl_ca, not {', '.join(unknown)}")
        return cls(
            host=unquote(parts.hostname or "localhost"),
            port=port,
            user=unquote(parts.username),
            database=unquote(parts.path.strip("/")),
            password=unquote(parts.password or ""),
            **more,
        )

    @classmethod
    def of_web_ini(cls, text: str) -> Self:
        """Take the database from the text of ASL3-Usage's own `web.ini`, with its defaults.

        Raises DatabaseError, without the text, which holds a password.
        """
        parser = configparser.ConfigParser()
        try:
            parser.read_string(text)
            given = dict(parser[_SECTION])
            port = int(given.get("db_port", _PORT))
        except (configparser.Error, KeyError, ValueError):
            raise DatabaseError(
                f"it is no web.ini of ASL3-Usage: a [{_SECTION}] with DB_HOST, DB_PORT, DB_USER,"
                " DB_PASS and DB_DB is needed"
            ) from None
        return cls(
            host=given.get("db_host", "localhost"),
            port=port,
            user=given.get("db_user", "aslusage"),
            password=given.get("db_pass", "aslusage"),
            database=given.get("db_db", "aslusage"),
        )


def live_rows(dsn: Dsn) -> Iterator[tuple[str, Row]]:
    """Yield the rows of `asl_usage` and `nodes` with the table's name, from one snapshot.

    A missing table has no rows. Values are text, as in a dump. Raises DatabaseError.
    """
    try:
        with closing(_connect(dsn)) as connection, connection.cursor() as cursor:
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            cursor.execute("SHOW TABLES")
            present = {_text(name) for (name,) in cursor.fetchall()}
            for table, statement in _SELECT.items():
                if table not in present:
                    continue
                cursor.execute(statement)
                columns = [str(item[0]).lower() for item in cursor.description or ()]
                for values in cursor:
                    yield table, dict(zip(columns, map(_text, values), strict=True))
    except (pymysql.MySQLError, OSError) as error:
        words = error.args[-1] if error.args else type(error).__name__
        raise DatabaseError(f"the database cannot be read: {words}") from error
    except RuntimeError as error:
        # PyMySQL raises this if an authentication method needs a missing package.
        raise DatabaseError(f"the login to the database failed: {error}") from error


def _connect(dsn: Dsn) -> pymysql.Connection[SSCursor]:
    return pymysql.connect(
        **asdict(dsn),
        charset="utf8mb4",
        cursorclass=SSCursor,
        # Encoders only: values stay text, as in a dump, since Python has no zero dates.
        conv=dict(encoders.items()),
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
    )


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
