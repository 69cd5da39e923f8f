"""Runs a real PostgreSQL for the tests of the records store: an installed or the unpacked one."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pg8000.dbapi
import pytest

from tools import embedded

ROOT: Final = Path(__file__).resolve().parents[1]
PASSWORD: Final = "s3cret@/%:"
START_TIMEOUT: Final = 60.0


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
            told = subprocess.run(
                [server, "--version"], env=found.environment, capture_output=True, check=False
            )
            if told.returncode == 0:
                return found
    return None


def _user() -> dict[str, Any]:
    """Whom it runs as: it refuses to run as root."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@dataclass
class PostgreSql:
    """A server on loopback, whose databases need a password."""

    programs: Programs
    directory: Path
    port: int = field(default_factory=embedded.free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = ("jit=off", "fsync=off", "unix_socket_directories=")
        log = self.directory / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    self.programs.folder / "postgres",
                    *("-D", self.directory / "data", "-p", str(self.port), "-h", embedded.HOST),
                    *(word for setting in settings for word in ("-c", setting)),
                ],
                env=self.programs.environment,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                **_user(),
            )
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.run("SELECT 1")
            except pg8000.dbapi.Error:
                assert time.monotonic() < deadline, log.read_text(errors="replace")
                assert self.process.poll() is None, log.read_text(errors="replace")
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """End it at once, as a crash does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def cut_connections(self) -> int:
        """End every other connection in the middle of what it does; return how many."""
        return len(
            self.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid != pg_backend_pid() AND backend_type = 'client backend'"
            )
        )

    def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement as the owner; its rows."""
        with closing(
            pg8000.dbapi.connect(
                user="owner",
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
        return f"postgresql://owner:s3cret%40%2F%25%3A@{embedded.HOST}:{self.port}/{database}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """Create a database of one's own; it is dropped at exit."""
        name = f"t{secrets.token_hex(6)}"
        self.run(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running() -> Iterator[PostgreSql]:
    """A PostgreSQL of one's own; skips the test if there is none on this machine."""
    found = programs()
    if found is None:
        pytest.skip("there is no PostgreSQL: `make dev` could not get Debian's packages of it")
    user = _user()
    # The folders of pytest are closed to other users.
    directory = Path(tempfile.mkdtemp(prefix="postgresql-"))
    try:
        if user:
            os.chown(directory, user["user"], user["group"])
        secret = directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        subprocess.run(
            [
                found.folder / "initdb",
                *("-D", directory / "data", "-U", "owner", "-A", "scram-sha-256"),
                *("--pwfile", secret, "-E", "UTF8", "--locale", "C", "--no-sync"),
            ],
            env=found.environment,
            cwd=directory,
            check=True,
            capture_output=True,
            **user,
        )
        server = PostgreSql(found, directory)
        server.start()
        try:
            yield server
        finally:
            if server.process is not None and server.process.poll() is None:
                server.kill()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
