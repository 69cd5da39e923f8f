"""Runs a real MariaDB for the tests of the import: the one on PATH, or the unpacked one."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql
import pytest
from pymysql.constants import CLIENT

from tools import embedded

# Replaces mariadb-install-db, which does not find its helpers in an unpacked package. Folder and
# files were mysql's up to Debian 12 and are mariadb's since.
SYSTEM_TABLES = ("share/m*/m*_system_tables.sql", "share/m*/m*_system_tables_data.sql")

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
PASSWORD = "s3cret: @/%"
START_TIMEOUT = 60.0


@dataclass(frozen=True)
class Programs:
    """Paths of MariaDB's programs, and the environment with which they find their libraries."""

    server: Path
    dump: Path
    base: Path
    environment: dict[str, str]


def programs() -> Programs | None:
    """Find the MariaDB on PATH, else the unpacked one; None if neither runs."""
    installed = shutil.which("mariadbd")
    libraries = [str(path) for path in LOCAL.glob("*/usr/lib/*-linux-*")]
    libraries += [str(path) for path in LOCAL.glob("*/lib/*-linux-*")]
    server_root = Path("/") if installed else LOCAL / "mariadb-server-core"
    client_root = Path("/") if installed else LOCAL / "mariadb-client"
    found = Programs(
        server=Path(installed or server_root / "usr/sbin/mariadbd"),
        dump=client_root / "usr/bin/mariadb-dump",
        base=server_root / "usr",
        environment=os.environ | ({} if installed else {"LD_LIBRARY_PATH": ":".join(libraries)}),
    )
    try:
        answer = subprocess.run(
            [found.server, "--no-defaults", "--version"],
            env=found.environment,
            capture_output=True,
            check=False,
        )
    except OSError:
        return None
    return found if answer.returncode == 0 and found.dump.exists() else None


@dataclass(frozen=True)
class MariaDb:
    """A running server with a read-only user, who has a password."""

    programs: Programs
    port: int
    socket: Path
    user: str = "reader"
    password: str = PASSWORD

    def connect(self, database: str | None = None) -> pymysql.Connection[pymysql.cursors.Cursor]:
        return pymysql.connect(
            user="root",
            unix_socket=str(self.socket),
            database=database,
            charset="utf8mb4",
            autocommit=True,
            client_flag=CLIENT.MULTI_STATEMENTS,
        )

    def run(self, database: str | None, *statements: str) -> None:
        """Run scripts as root; each statement must succeed."""
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                while cursor.nextset():
                    pass

    def insert(self, database: str, table: str, rows: Sequence[Sequence[object]]) -> None:
        """Insert whole rows, with the lax date checks of old servers."""
        marks = ",".join(["%s"] * len(rows[0]))
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION sql_mode = ''")
            cursor.executemany(f"INSERT INTO `{table}` VALUES ({marks})", rows)

    def dsn(self, database: str) -> str:
        return f"mysql://{self.user}@{embedded.HOST}:{self.port}/{database}"

    def dumped(self, database: str, file: Path, *options: str) -> Path:
        """Dump the database to `file` with the real mariadb-dump."""
        with file.open("wb") as output:
            subprocess.run(
                [
                    self.programs.dump,
                    "--no-defaults",
                    f"--socket={self.socket}",
                    "--user=root",
                    *options,
                    database,
                ],
                env=self.programs.environment,
                stdout=output,
                check=True,
            )
        return file

    @contextmanager
    def database(self, *scripts: str) -> Iterator[str]:
        """Create a database from scripts; it is dropped at exit."""
        name = f"t{secrets.token_hex(6)}"
        self.run(
            None,
            f"CREATE DATABASE {name} CHARACTER SET utf8mb4",
            f"GRANT SELECT ON {name}.* TO {self.user}@'%'",
        )
        try:
            self.run(name, *scripts)
            yield name
        finally:
            self.run(None, f"DROP DATABASE {name}")


@contextmanager
def running(directory: Path) -> Iterator[MariaDb]:
    """Run a server with its files in `directory`; skip the test if MariaDB is missing."""
    found = programs()
    if found is None:
        pytest.skip("there is no MariaDB: `make dev` could not get Debian's packages of it")
    data, log = directory / "data", directory / "mariadbd.log"
    # The path of a socket has at most 107 bytes, and paths of pytest's folders are long.
    socket = Path(tempfile.gettempdir(), f"{secrets.token_hex(6)}.sock")
    options: list[str | Path] = [
        found.server,
        "--no-defaults",
        f"--basedir={found.base}",
        f"--datadir={data}",
        "--innodb-buffer-pool-size=16M",
        "--innodb-flush-log-at-trx-commit=0",
        *(["--user=root"] if os.geteuid() == 0 else []),
    ]
    data.mkdir()
    _lay_system_tables(found, options)
    server = MariaDb(found, embedded.free_port(), socket)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []),
                *options,
                f"--socket={socket}",
                f"--pid-file={directory / 'pid'}",
                f"--bind-address={embedded.HOST}",
                f"--port={server.port}",
            ],
            env=found.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        _wait(server, process, log)
        server.run(None, f"CREATE USER {server.user}@'%' IDENTIFIED BY '{server.password}'")
        yield server
    finally:
        process.terminate()
        process.wait(30)


def _lay_system_tables(found: Programs, options: Sequence[str | Path]) -> None:
    script = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"
    for pattern in SYSTEM_TABLES:
        script += next(found.base.glob(pattern)).read_text()
    done = subprocess.run(
        [*options, "--bootstrap"],
        env=found.environment,
        input=script.encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def _wait(server: MariaDb, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if not embedded.is_free(server.port):
            return
        time.sleep(0.05)
    pytest.fail(f"MariaDB did not start:\n{log.read_text(errors='replace')[-4000:]}")
