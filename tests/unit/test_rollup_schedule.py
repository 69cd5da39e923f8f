from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from collector.rollup.schedule import next_run

LOOKS = [
    # at, next
    ("2026-03-01 00:00:00", "2026-03-01 00:15:00"),
    ("2026-03-01 00:00:00.000001", "2026-03-01 00:15:00"),
    ("2026-03-01 00:07:29", "2026-03-01 00:15:00"),
    ("2026-03-01 00:14:59.999999", "2026-03-01 00:15:00"),
    ("2026-03-01 00:15:00", "2026-03-01 00:30:00"),
    ("2026-03-01 00:59:59", "2026-03-01 01:00:00"),
    ("2026-03-01 12:44:00", "2026-03-01 12:45:00"),
    ("2026-03-01 23:44:59", "2026-03-01 23:45:00"),
    ("2026-03-01 23:45:00", "2026-03-02 00:00:00"),
    ("2026-03-01 23:59:59.999999", "2026-03-02 00:00:00"),
    ("2024-02-28 23:50:00", "2024-02-29 00:00:00"),
    ("2024-02-29 23:50:00", "2024-03-01 00:00:00"),
    ("2025-02-28 23:50:00", "2025-03-01 00:00:00"),
    ("2026-12-31 23:50:00", "2027-01-01 00:00:00"),
    # Clocks of the United States and of Europe change; UTC does not.
    ("2026-03-08 09:59:00", "2026-03-08 10:00:00"),
    ("2026-10-25 00:59:00", "2026-10-25 01:00:00"),
]


@pytest.mark.parametrize(("at", "then"), LOOKS)
def test_next_run(at: str, then: str) -> None:
    now = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert next_run(now) == datetime.fromisoformat(then).replace(tzinfo=UTC)


def test_looks_of_a_day_are_ninety_six_and_fifteen_minutes_apart() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    looks = []
    while (at := next_run(at)).day == 1:
        looks.append(at)
    assert len(looks) == 95
    assert at == datetime(2026, 3, 2, tzinfo=UTC)


def test_a_clock_of_another_zone_gives_quarters_all_the_same() -> None:
    now = datetime(2026, 3, 1, 3, 20, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert next_run(now) == datetime(2026, 2, 28, 22, 0, tzinfo=UTC)
