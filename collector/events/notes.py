"""Operators' notes: checks of their text, and their numbers. Pure.

A note is published for as long as the daily series, and an owner's erasure cannot find it. So a
text that seems to name a station, a server or a person is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import date
from typing import Final

from collector.events.event import OPERATOR, Event, Kind

LONGEST: Final = 200
"""Largest length of a note's text, in characters."""

_IDENTITIES: Final = {
    "a UUID": re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE),
    "a pseudonym": re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{16}\b", re.IGNORECASE),
    "an e-mail address": re.compile(r"\S@\S"),
    "an IP address": re.compile(
        r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w.-])|\b(?:[0-9a-f]{1,4}:){3,}|[0-9a-f]::[0-9a-f]",
        re.IGNORECASE,
    ),
    # Node numbers have 4 to 7 digits from 2000 on; the years of this century are told apart.
    "a node number": re.compile(r"(?<![\w.,:-])(?!20\d\d\b)[2-9]\d{3,6}(?![\w.,:-]*\w)"),
    # The form of ITU Radio Regulations, article 19: prefix, digit, one to four letters.
    "a call sign": re.compile(
        r"(?<![\w.-])(?:[A-Z]{1,2}|[A-Z]\d|\d[A-Z]{1,2})\d[A-Z]{1,4}(?![\w.])", re.IGNORECASE
    ),
}


class NoteError(ValueError):
    """A note's text cannot be published; the message gives the reason."""


def checked(text: str, *, identities: bool = False) -> str:
    """The text of a note as it is published: one line, in Unicode's form NFC.

    `identities` permits what looks like a call sign, a node number, an address or the like. Raises
    NoteError.
    """
    written = unicodedata.normalize("NFC", text).strip()
    if not written:
        raise NoteError("a note needs a text")
    if not written.isprintable():
        raise NoteError("a note is one line of printable characters")
    if len(written) > LONGEST:
        raise NoteError(f"a note has at most {LONGEST} characters; this one has {len(written)}")
    if "<" in written or ">" in written:
        raise NoteError("a note has no < or >: dashboards would take them for HTML")
    if not identities:
        for kind, pattern in _IDENTITIES.items():
            if found := pattern.search(written):
                raise NoteError(
                    f"{found[0]!r} looks like {kind}, and a note is public: an owner's erasure"
                    " would not remove it. Leave it out, or confirm with --public that it"
                    " identifies nobody"
                )
    return written


def note(day: date, text: str, stored: Iterable[Event]) -> Event:
    """A new note with a checked text; `stored` are all notes, whose numbers it does not take.

    Raises NoteError if the day has the same note already.
    """
    numbers = [0]
    for other in stored:
        if (other.day, other.text) == (day, text):
            raise NoteError(f"this is note {other.item} already")
        numbers.append(int(other.item))
    return Event(day, Kind.NOTE, OPERATOR, str(max(numbers) + 1), text)
