"""Tests that fail where a day begins meanwhile run once more, with fixtures made anew."""

from __future__ import annotations

from datetime import date

import pytest

from tests import new_day

pytest_plugins = ["pytester"]

FIXTURES = """
import pytest
from datetime import date
from tests import new_day

@pytest.fixture(scope="{scope}")
def made():
    return new_day.days()

@pytest.fixture
def midnight():
    new_day.days = lambda: (date(2026, 1, 3), date(2026, 1, 2))
"""


@pytest.fixture(autouse=True)
def before_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_day, "days", lambda: (date(2026, 1, 2), date(2026, 1, 2)))
    monkeypatch.setattr(new_day, "_begun", {})


def run(pytester: pytest.Pytester, scope: str, text: str) -> pytest.RunResult:
    pytester.makeconftest(FIXTURES.format(scope=scope))
    pytester.makepyfile(text)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    return pytester.runpytest_inprocess("-p", "tests.new_day")


@pytest.mark.parametrize("scope", ["function", "module", "session"])
def test_test_over_midnight_runs_again_with_new_fixtures_and_is_listed(
    pytester: pytest.Pytester, scope: str
) -> None:
    done = run(
        pytester,
        scope,
        """
        def test_before(made): pass
        def test_over(made, midnight):
            from tests import new_day
            assert made == new_day.days()
        def test_after(made):
            from tests import new_day
            assert made == new_day.days()
        """,
    )
    done.assert_outcomes(passed=3)
    done.stdout.fnmatch_lines([f"*{new_day.RAN_AGAIN}*", "*::test_over"])
    done.stdout.no_fnmatch_line("*::test_after")


def test_fixture_made_before_midnight_fails_no_later_test(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        "module",
        """
        def test_over(made, midnight): pass
        def test_after(made):
            from tests import new_day
            assert made == new_day.days()
        """,
    )
    done.assert_outcomes(passed=2)
    done.stdout.fnmatch_lines([f"*{new_day.RAN_AGAIN}*", "*::test_after"])


def test_test_that_fails_again_or_within_a_day_is_a_failure(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        "function",
        """
        runs = []
        def test_within_a_day():
            runs.append(1)
            assert len(runs) > 1
        def test_fails_twice(midnight):
            assert False
        """,
    )
    done.assert_outcomes(failed=2)
