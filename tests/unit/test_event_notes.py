"""Operators' notes are one line that names nobody; events of versions carry no HTML."""

from __future__ import annotations

from datetime import date

import pytest

from collector.events.event import first_package, first_version
from collector.events.notes import LONGEST, NoteError, checked, note
from collector.lines import parse

DAY = date(2026, 11, 3)


def test_ordinary_texts_are_published_as_they_are() -> None:
    for text in (
        "Receiver moved to a new machine",
        'asl3 3.6 announced: "faster", 50 % less; a\\b=c, d',
        "Asterisk 22.10.0, 20.7.0 and asl3-3.5.2-1.deb12",
        "Since 2025-08-09 12:00 UTC, 1,726 of 2 000 nodes on Debian 13 (IAX2, HTTP)",
        "Corte de luz en la montaña, sin informes",
        "x" * LONGEST,
    ):
        assert checked(f"  {text} ") == text
        assert parse(note(DAY, text, []).line()).fields == {"text": text}


def test_texts_that_cannot_be_published_are_refused_with_the_reason() -> None:
    for text, reason in {
        " ": "needs a text",
        "two\nlines": "one line",
        "tab\tor \u202ereversed": "one line",
        "x" * (LONGEST + 1): "at most 200",
        "load < 5": "HTML",
        "node 546051 was odd": "a node number",
        "node 2345": "a node number",
        "W1AW moved": "a call sign",
        "see kb3xyz, please": "a call sign",
        "EA5/G4ABC came": "a call sign",
        "ask operator@example.org": "an e-mail address",
        "10.0.0.17 was blocked": "an IP address",
        "2001:db8::1 was blocked": "an IP address",
        "1f2e3d4c5b6a7988 erased": "a pseudonym",
        "6F9619FF-8B86-D011-B42D-00C04FC964FF": "a UUID",
    }.items():
        with pytest.raises(NoteError, match=reason):
            checked(text)


def test_a_text_that_looks_like_an_identity_is_published_on_confirmation() -> None:
    assert checked("port 4569 blocked", identities=True) == "port 4569 blocked"
    with pytest.raises(NoteError, match="HTML"):
        checked("<b>port 4569</b>", identities=True)


def test_notes_are_numbered_after_the_highest_and_not_written_twice_on_a_day() -> None:
    first = note(DAY, "one", [])
    second = note(DAY, "two", [first])
    assert (first.item, second.item) == ("1", "2")
    assert note(DAY, "three", [second]).item == "3"
    with pytest.raises(NoteError, match="note 1 already"):
        note(DAY, "one", [first, second])
    assert note(date(2026, 11, 4), "one", [first, second]).item == "3"


def test_a_version_that_a_stranger_chose_is_no_html_in_an_event() -> None:
    for event in (
        first_version(DAY, "asl_version", "<img src=x>"),
        first_package(DAY, "<img", "x>"),
    ):
        assert not {"<", ">"} & set(event.text)
        assert parse(event.line()).tags["item"].endswith(">")
