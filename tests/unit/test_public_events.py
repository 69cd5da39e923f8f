"""Events in the words of each language."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from collector.events.event import Event, Kind, first_package, first_version, outage
from collector.public.events import words
from collector.public.language import language
from collector.public.marks import marks

DAY = date(2026, 11, 3)
BEGIN = datetime(2026, 11, 3, 22, tzinfo=UTC)
NOTE = Event(DAY, Kind.NOTE, "operator", "1", "Field Day, 50 % more")


def test_english_words_are_the_stored_text_but_for_the_form_of_dates_and_numbers() -> None:
    english = language("en")
    for event in (
        first_version(DAY, "asl_version", "asl3-3.5.2"),
        first_package(DAY, "asl3", "3.5.2-1.deb12"),
        outage(BEGIN, 2, 210),
        NOTE,
    ):
        assert words(event, english) == event.text
    assert words(outage(BEGIN, 27, 2100), english) == (
        "No report received from 3 November 2026, 22:00 UTC to 5 November 2026, 01:00 UTC,"
        " where about 2,100 were expected"
    )


def test_spanish_words_leave_versions_and_notes_as_they_are() -> None:
    spanish = language("es")
    assert words(first_version(DAY, "asterisk_version", "22.10.0"), spanish) == (
        "Por primera vez en las cifras: Asterisk 22.10.0"
    )
    assert words(outage(BEGIN, 1, 40), spanish).endswith(
        "de 22:00 a 23:00 UTC, cuando se esperaban unos 40"
    )
    assert words(NOTE, spanish) == NOTE.text
    # A kind of software that a later version adds has its dimension's name.
    later = Event(DAY, Kind.VERSION, "app_rpt", "9", "")
    assert words(later, spanish).endswith("app_rpt 9")


def test_marks_are_numbered_and_days_close_together_share_one() -> None:
    first, last = date(2026, 1, 1), date(2026, 4, 11)
    events = [
        first_version(date(2026, 1, 2), "asl_version", "a"),
        first_version(date(2026, 1, 4), "asterisk_version", "b"),
        first_version(date(2026, 1, 7), "asl_version", "c"),
        Event(date(2026, 4, 11), Kind.NOTE, "operator", "1", "last day"),
    ]
    unseen = [
        first_package(date(2026, 2, 1), "asl3", "1"),
        Event(date(2025, 12, 31), Kind.NOTE, "operator", "2", "before"),
        Event(date(2026, 4, 12), Kind.NOTE, "operator", "3", "after"),
    ]
    found = marks([*reversed(events), *unseen], first, last)
    assert [(mark.number, mark.percent, mark.lines) for mark in found] == [
        (1, 1.0, (1.0, 3.0)),
        (2, 6.0, (6.0,)),
        (3, 100.0, (100.0,)),
    ]
    assert [event for mark in found for event in mark.events] == events
    assert marks([], first, last) == []


def test_a_year_full_of_events_has_marks_that_fit_a_phone() -> None:
    first, last = date(2025, 11, 26), date(2026, 11, 25)
    daily = [first_version(first + timedelta(days=n), "asl_version", str(n)) for n in range(365)]
    found = marks(daily, first, last)
    assert all(b.percent - a.percent >= 5 for a, b in pairwise(found))
    assert [event for mark in found for event in mark.events] == daily
