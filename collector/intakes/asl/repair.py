"""Repair of invalid JSON objects that `asl-telemetry` writes. Pure, linear in time.

The client is a shell script that copies the output of commands into strings and lists as it is: a
warning of Asterisk puts newlines into a string; rpt.conf's `0500` and users of another provider are
unquoted in a list. The text is read once, token by token, and rewritten as JSON (RFC 8259); each
kind of repair has a name. Faults that make the place of a value ambiguous are not repaired: a
truncated document, an unquoted key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_MOST_STEPS: Final = 12_000
"""Limit of tokens, and of characters repaired in strings. A report of 500 nodes and 300 packages
has under 8 000; the limit bounds the time for a hostile body of 64 KiB to about 30 ms."""
_DEEPEST: Final = 32
_LONGEST_NUMBER: Final = 18

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_UNQUOTED: Final = re.compile(r'(?:[^"\\]|\\.)*+"', re.DOTALL)
_BARE_ELEMENT: Final = re.compile(r'[^ \t\r\n,\[\]{}"]+')
_BARE_VALUE: Final = re.compile(r'[^,\[\]{}"]+')
_MARKS: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u[0-9a-fA-F]{4}"
    r'|\\["\\/bfnrt]'
    r'|[\\"\x00-\x1f]'
)
_LONE_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_ZEROS_FIRST: Final = re.compile(r"0+[0-9]+")
_LITERALS: Final = frozenset({"true", "false", "null"})
_NO_NUMBERS: Final = frozenset({"NaN", "Infinity", "-Infinity"})

# A quote ends its string if valid JSON follows it; any other quote is part of the text.
_AFTER_KEY: Final = re.compile(r"[ \t\r\n]*:")
_AFTER_ELEMENT: Final = re.compile(r"[ \t\r\n]*[],]")
_AFTER_VALUE: Final = re.compile(r'[ \t\r\n]*(?:\}|,[ \t\r\n]*[",}])')


class Repair(StrEnum):
    """Kind of repair; its value is the label in the metric."""

    BYTE_ORDER_MARK = "byte-order-mark"
    """U+FEFF before the object; removed."""
    ENCODING = "bad-utf-8"
    """Bytes that are not UTF-8; replaced by U+FFFD."""
    TRAILING_BYTES = "trailing-bytes"
    """Text other than white space after the object; removed."""
    CONTROL_CHARACTER = "control-character"
    """A raw control character inside a string; escaped."""
    ESCAPE = "bad-escape"
    """A backslash that escapes nothing, itself escaped; or a lone surrogate, replaced by U+FFFD."""
    QUOTE = "bare-quote"
    """A quote inside a string; escaped."""
    COMMA = "comma"
    """A comma too many or too few; exactly one is written."""
    MISSING_VALUE = "missing-value"
    """A name without a value; null is written."""
    LEADING_ZEROS = "leading-zeros"
    """A number with leading zeros; they are removed."""
    LONG_NUMBER = "long-number"
    """A number of over 18 digits; written as text."""
    NOT_A_NUMBER = "not-a-number"
    """NaN or Infinity; null is written."""
    BARE_WORD = "bare-word"
    """An unquoted word in place of a value; written as text."""


def repaired(body: bytes) -> tuple[str, frozenset[Repair]] | None:
    """The repaired JSON object and the kinds of repair; None if the body cannot be repaired."""
    found: set[Repair] = set()
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = body.decode(errors="replace")
        found.add(Repair.ENCODING)
    if text.startswith("\ufeff"):
        text = text[1:]
        found.add(Repair.BYTE_ORDER_MARK)
    try:
        written = _Rewriter(text, found).written()
    except _NoObject:
        return None
    return written, frozenset(found)


class _NoObject(Exception):
    """The text cannot be repaired to one object."""


@dataclass(slots=True)
class _Container:
    """An open array or object: its number of items, and the state of the parser in it."""

    is_array: bool
    items: int = 0
    after_comma: bool = True
    """Whether the last token was a comma or the opening bracket."""
    after_key: bool = False


class _Rewriter:
    """Rewrites one object as valid JSON, and adds the kinds of repair to `found`."""

    def __init__(self, text: str, found: set[Repair]) -> None:
        self._text = text
        self._found = found
        self._at = 0
        self._written: list[str] = []
        self._open: list[_Container] = []
        self._steps = 0

    def written(self) -> str:
        """The object as JSON. Raises _NoObject."""
        self._skip_space()
        if not self._text.startswith("{", self._at):
            raise _NoObject
        self._begin("{")
        while self._open:
            self._skip_space()
            self._count()
            if self._at == len(self._text):
                raise _NoObject
            self._token(self._text[self._at], self._open[-1])
        rest = self._text[self._at :].strip(" \t\r\n")
        if "{" in rest:
            # Repairing this would drop a second report silently.
            raise _NoObject
        if rest:
            self._found.add(Repair.TRAILING_BYTES)
        return "".join(self._written)

    def _token(self, mark: str, within: _Container) -> None:
        match mark:
            case ",":
                self._at += 1
                self._comma(within)
            case "[" | "{":
                self._value(within, "")
                self._begin(mark)
            case "]" | "}":
                self._end(mark, within)
            case '"' if within.is_array or within.after_key:
                closes = _AFTER_ELEMENT if within.is_array else _AFTER_VALUE
                self._value(within, self._string(closes))
            case '"':
                self._key(within)
            case _:
                self._bare(within)

    def _comma(self, within: _Container) -> None:
        if within.after_key:
            self._missing(within)
        if within.after_comma:
            self._found.add(Repair.COMMA)
        within.after_comma = True

    def _begin(self, mark: str) -> None:
        if len(self._open) == _DEEPEST:
            raise _NoObject
        self._at += 1
        self._written.append(mark)
        self._open.append(_Container(mark == "["))

    def _end(self, mark: str, within: _Container) -> None:
        if within.is_array != (mark == "]"):
            raise _NoObject
        if within.after_key:
            self._missing(within)
        if within.after_comma and within.items:
            self._found.add(Repair.COMMA)
        self._at += 1
        self._written.append(mark)
        self._open.pop()

    def _separate(self, within: _Container) -> None:
        if within.items:
            self._written.append(",")
            if not within.after_comma:
                self._found.add(Repair.COMMA)
        within.items += 1
        within.after_comma = False

    def _key(self, within: _Container) -> None:
        self._separate(within)
        self._written.append(self._string(_AFTER_KEY))
        self._skip_space()
        if not self._text.startswith(":", self._at):
            raise _NoObject
        self._at += 1
        self._written.append(":")
        within.after_key = True

    def _value(self, within: _Container, written: str) -> None:
        if within.is_array:
            self._separate(within)
        elif not within.after_key:
            raise _NoObject
        within.after_key = False
        self._written.append(written)

    def _missing(self, within: _Container) -> None:
        self._found.add(Repair.MISSING_VALUE)
        self._value(within, "null")

    def _bare(self, within: _Container) -> None:
        word = (_BARE_ELEMENT if within.is_array else _BARE_VALUE).match(self._text, self._at)
        if word is None or not (within.is_array or within.after_key):
            raise _NoObject
        self._at = word.end()
        self._value(within, self._of_word(word[0].rstrip(" \t\r\n")))

    def _of_word(self, word: str) -> str:
        """An unquoted word as JSON."""
        if word in _LITERALS:
            return word
        if word in _NO_NUMBERS:
            self._found.add(Repair.NOT_A_NUMBER)
            return "null"
        if _ZEROS_FIRST.fullmatch(word):
            self._found.add(Repair.LEADING_ZEROS)
            word = word.lstrip("0") or "0"
        if _NUMBER.fullmatch(word):
            if len(word) <= _LONGEST_NUMBER:
                return word
            self._found.add(Repair.LONG_NUMBER)
        else:
            self._found.add(Repair.BARE_WORD)
        return self._quoted(word)

    def _string(self, closes: re.Pattern[str]) -> str:
        """The string that starts at the current position, as JSON."""
        begin = end = self._at + 1
        while (found := _UNQUOTED.match(self._text, end)) is not None:
            self._count()
            end = found.end()
            if closes.match(self._text, end):
                self._at = end
                return self._quoted(self._text[begin : end - 1])
        raise _NoObject

    def _quoted(self, text: str) -> str:
        return f'"{_MARKS.sub(self._escaped, text)}"'

    def _escaped(self, found: re.Match[str]) -> str:
        mark = found[0]
        if len(mark) == 1:
            self._count()
            kind = {"\\": Repair.ESCAPE, '"': Repair.QUOTE}.get(mark, Repair.CONTROL_CHARACTER)
            self._found.add(kind)
            return f"\\u{ord(mark):04x}"
        if _LONE_SURROGATE.fullmatch(mark):
            self._found.add(Repair.ESCAPE)
            return "\\ufffd"
        return mark

    def _skip_space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _count(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _NoObject
