"""Debian's PostgreSQL as a child process on loopback, for the demo and the tests."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar
from urllib.parse import quote

import pg8000.dbapi

from tools import embedded

ROOT: Final = Path(__file__).resolve().parents[1]
OWNER: Final = "owner"
PASSWORD: Final = "s3cret@/%:"  # noqa: S105 - of a database on loopback that is removed at the end
START_TIMEOUT: Final = 60.0
_ENDS_S: Final = 30.0


class PostgreSqlError(Exception):
    """PostgreSQL did not start; the text holds the end of its log."""


@dataclass(frozen=True)
class Programs:
    """The folder of PostgreSQL's programs, and the environment for their libraries."""

    folder: Path
    environment: dict[str, str]


def programs() -> Programs | None:
    """Find the newest PostgreSQL that is installed, else the unpacked one; None without one."""
    local = ROOT / ".local"
    for base in (Path("/"), *sorted(local.glob("postgresql-*"))):
        for server in sorted(base.glob("usr/lib/postgresql/*/bin/postgres"), reverse=True):
            libraries = [str(path) for path in local.glob("*/usr/lib/*-linux-*")]
            own = {} if base == Path("/") else {"LD_LIBRARY_PATH": ":".join(libraries)}
            found = Programs(server.parent, os.environ | own)
            told = subprocess.run(  # noqa: S603 - a found PostgreSQL
                [server, "--version"], env=found.environment, capture_output=True, check=False
            )
            if told.returncode == 0:
                return found
    return None


def _user() -> tuple[int, int] | None:
    """User and group that it runs as; None for the caller's. It refuses to run as root."""
    if os.geteuid():
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


@dataclass
class PostgreSql:
    """A server on loopback, whose databases need a password."""

    programs: Programs
    directory: Path
    port: int = field(default_factory=embedded.free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers. Raises PostgreSqlError."""
        settings = ("jit=off", "fsync=off", "unix_socket_directories=")
        log = self.directory / "log"
        self.process = embedded.start_child(
            [
                self.programs.folder / "postgres",
                *("-D", self.directory / "data", "-p", str(self.port), "-h", embedded.HOST),
                *(word for setting in settings for word in ("-c", setting)),
            ],
            log=log,
            environment=self.programs.environment,
            # At once, with its children: a SIGKILL would leave those for a while.
            at_end=signal.SIGQUIT,
            directory=self.directory,
            user=_user(),
        )
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.run("SELECT 1")
            except pg8000.dbapi.Error as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    tail = log.read_text(errors="replace")
                    raise PostgreSqlError(f"PostgreSQL did not start. Its log:\n{tail}") from error
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGQUIT)
            self.process.wait(_ENDS_S)

    def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement as the owner; its rows."""
        with closing(
            pg8000.dbapi.connect(
                user=OWNER,
                password=PASSWORD,
                host=embedded.HOST,
                port=self.port,
                database=database,
                timeout=20,
            )
        ) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def url(self, database: str) -> str:
        """The URL of a database, with its owner's password."""
        secret = quote(PASSWORD, safe="")
        return f"postgresql://{OWNER}:{secret}@{embedded.HOST}:{self.port}/{database}"


Server = TypeVar("Server", bound=PostgreSql)


@contextmanager
def postgresql(found: Programs, kind: type[Server]) -> Iterator[Server]:
    """A new server, in a directory that is removed at exit. Raises PostgreSqlError, OSError."""
    user = _user()
    # The directory of root's temporary files may be closed to the user that it runs as.
    parent = None if user is None else "/tmp"  # noqa: S108 - the directory itself is a new one
    with TemporaryDirectory(prefix="postgresql-", dir=parent, ignore_cleanup_errors=True) as name:
        directory = Path(name)
        if user is not None:
            os.chown(directory, *user)
        secret = directory / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        secret.chmod(0o644)
        made = subprocess.run(  # noqa: S603 - a found PostgreSQL
            [
                found.folder / "initdb",
                *("-D", directory / "data", "-U", OWNER, "-A", "scram-sha-256"),
                *("--pwfile", secret, "-E", "UTF8", "--locale", "C", "--no-sync"),
            ],
            env=found.environment,
            cwd=directory,
            check=False,
            capture_output=True,
            text=True,
            user=user and user[0],
            group=user and user[1],
            extra_groups=user and [],
        )
        if made.returncode != 0:
            raise PostgreSqlError(f"PostgreSQL could not be set up:\n{made.stderr}")
        server = kind(found, directory)
        server.start()
        try:
            yield server
        finally:
            server.kill()
