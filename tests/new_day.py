"""A pytest plugin: runs a failed test once more where a day began or became final meanwhile.

Tests of `serve` and of the commands read the real clock, as those do. Where midnight or 01:00 UTC
passes between a fixture and what is asserted of it, the two are of different days, and the failure
says nothing. Such a test runs again with all of its fixtures made anew, those of its module and
session too; the second result counts. The end of pytest's output lists these tests.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final

import pytest
from _pytest.runner import CallInfo, runtestprotocol  # as plugins that repeat tests do

from tests import dates

RAN_AGAIN: Final = "ran again in a new day"

_begun: Final[dict[Path, tuple[date, date]]] = {}
"""The days when the fixtures of a file may first have been made."""


def days() -> tuple[date, date]:
    """The current day and the oldest open one: what changes at midnight, and at 01:00 UTC."""
    return dates.today(), dates.open_day()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    begun = _begun.setdefault(item.path, days())
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if any(report.failed for report in reports) and (now := days()) != begun:
        # Without a next test, fixtures of every scope end. What fails in that, failed before.
        state = item.session._setupstate  # noqa: SLF001 - there is no public way to it
        CallInfo.from_call(lambda: state.teardown_exact(None), "teardown")
        _begun.clear()
        _begun[item.path] = now
        item.user_properties.append((RAN_AGAIN, True))
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    again = {
        report.nodeid
        for reports in terminalreporter.stats.values()
        for report in reports
        if (RAN_AGAIN, True) in map(tuple, getattr(report, "user_properties", ()))
    }
    if again:
        terminalreporter.section(RAN_AGAIN)
        for name in sorted(again):
            terminalreporter.write_line(name)
