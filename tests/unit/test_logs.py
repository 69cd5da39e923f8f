"""Logs: as a process of its own writes them, since they are set up once in a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADDRESS = "203.0.113.9"
SAID = "4711-what-was-sent"

PRELUDE = """
import logging, sys
import structlog
from aiohttp.http_exceptions import BadHttpMessage
from collector import logs
logs.configure(form=sys.argv[1], level=sys.argv[2])
log = structlog.get_logger("collector.test")
foreign = logging.getLogger("aiohttp.server")
"""


def logged(program: str, *, form: str = "text", level: str = "info") -> list[str]:
    """The lines that a program writes."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program, form, level],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_event_is_one_line_of_words_and_values() -> None:
    (line,) = logged("log.info('refused', reason='too-large', detail='it is large')")
    head, _, rest = line.partition(" ")
    assert head.startswith("time=")
    assert rest == (
        'level=info logger=collector.test event=refused reason=too-large detail="it is large"'
    )


def test_event_in_json_is_an_object_a_line() -> None:
    (line,) = logged("log.error('refused', reason='too-large')", form="json")
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "error",
        "logger": "collector.test",
        "event": "refused",
        "reason": "too-large",
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_value_with_line_ends_stays_on_one_line(form: str) -> None:
    (line,) = logged(r"log.info('x', why='a\nb\r\nc')", form=form)
    assert "a | b | c" in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_traceback_of_our_own_stays_on_one_line(form: str) -> None:
    program = "try:\n  1/0\nexcept ZeroDivisionError:\n  logging.getLogger('x').exception('oh')"
    (line,) = logged(program, form=form)
    assert "ZeroDivisionError" in line


def test_events_under_the_level_are_not_logged() -> None:
    program = "log.info('a'); log.warning('b'); logging.getLogger('x').info('c')"
    (line,) = logged(program, level="warning")
    assert "event=b" in line


def failing(raised: str, message: str = "Error handling request from %s") -> str:
    return f"""
def handle():
    raise {raised}
try:
    handle()
except Exception as error:
    foreign.error({message!r}{f", {ADDRESS!r}" if "%s" in message else ""}, exc_info=error)
"""


def test_migrations_library_logs_warnings_alone() -> None:
    program = """
migration = logging.getLogger("alembic.runtime.migration")
migration.info("Context impl SQLiteImpl.")
migration.warning("found nothing")
"""
    (line,) = logged(program)
    assert "found nothing" in line
    assert logged(program, level="error") == []


def test_failed_request_is_logged_without_address_or_words() -> None:
    (line,) = logged(failing(f"ValueError({SAID!r})"))
    assert "error handling a request" in line
    assert "ValueError in handle:" in line
    assert "level=error" in line
    assert ADDRESS not in line
    assert SAID not in line


def test_request_that_is_no_http_is_logged_without_address_or_words() -> None:
    (line,) = logged(failing(f"BadHttpMessage({SAID!r})"))
    assert "not HTTP: BadHttpMessage" in line
    assert ADDRESS not in line
    assert SAID not in line


def test_other_failure_of_the_server_is_logged_without_words() -> None:
    (line,) = logged(failing(f"ValueError({SAID!r})", "Unhandled exception"))
    assert "Unhandled exception: ValueError" in line
    assert SAID not in line


def test_strangers_cannot_fill_the_log_and_what_was_held_back_is_told() -> None:
    program = """
from collector.logs import Sparing
sparing = Sparing()
for _ in range(1000):
    sparing.info(log, 'refused', reason='too-large')
sparing.info(log, 'refused', reason='too-slow')
sparing._until = 0.0
sparing.info(log, 'refused', reason='too-large')
"""
    lines = logged(program)
    assert len(lines) == 62
    assert "reason=too-slow" in lines[60]
    assert "held_back=940" in lines[61]
