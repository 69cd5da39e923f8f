"""Events in the words of each language."""

from __future__ import annotations

from datetime import UTC, date, datetime

from collector.events.event import Event, Kind, first_package, first_version, outage
from collector.public.events import words
from collector.public.language import language

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
