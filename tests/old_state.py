"""A state directory of version 2 with three workers, for tests of the upgrade."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.sender import lay_key

CASES: Final = Path(__file__).parent / "cases" / "state-2"
T0: Final = 1_795_500_000_000_000_000
WAITING: Final = {"outbox": 3, "worker-1": 2, "worker-2": 2}
"""Number of undelivered reports in each outbox."""


def lay(state: Path) -> None:
    """Create the state directory, with the tests' key."""
    lay_key(state)
    for case in sorted(CASES.glob("*.sql")):
        own = state if case.stem == "outbox" else state / case.stem
        own.mkdir(mode=0o700, exist_ok=True)
        path = own / "outbox.sqlite3"
        with closing(sqlite3.connect(path)) as database:
            database.executescript(case.read_text())
        path.chmod(0o600)
