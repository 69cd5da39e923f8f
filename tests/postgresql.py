"""Runs a real PostgreSQL for the tests of the records store: an installed or the unpacked one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tools.postgresql import PASSWORD, Programs, programs
from tools.postgresql import PostgreSql as Server
from tools.postgresql import postgresql as started

__all__ = ["PASSWORD", "PostgreSql", "Programs", "programs", "running"]


class PostgreSql(Server):
    """A server on loopback, whose connections can be cut."""

    def cut_connections(self) -> int:
        """End every other connection in the middle of what it does; return how many."""
        return len(
            self.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid != pg_backend_pid() AND backend_type = 'client backend'"
            )
        )

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
    with started(found, PostgreSql) as server:
        yield server
