"""Redaction: replaces secrets by `(hidden)` in logs and in what commands print.

Secrets are found by their content: tokens and passwords of the settings, and the user and password
in URLs of the environment. They are hidden in each form in which they may be written
(percent-encoded, quoted, Base64). The user and password of any other URL are hidden too.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import quote, quote_plus, unquote

HIDDEN: Final = "(hidden)"
_SHORTEST: Final = 4
"""A shorter secret is hidden in URLs only: searched for everywhere, it would match in words."""
_USER: Final = re.compile(r"(?<=://)(?!(?:USER:PASSWORD|user)@)[^\s/?#'\"<>]*@")
"""The user and password of a URL; not the words for them in messages and help."""
_PARAMETER: Final = re.compile(
    r"(?i)(?<=[?&])([\w.-]*(?:token|secret|passw|pwd|key|sig|auth)[\w.-]*)=([^\s&#'\"]+)"
)
_PERCENT: Final = re.compile("%[0-9A-F]{2}")


class _Known:
    """The registered secrets of this process, and a pattern that matches them."""

    def __init__(self) -> None:
        self.forms: set[str] = set()
        self.pattern: re.Pattern[str] | None = None

    def add(self, forms: Iterable[str]) -> None:
        new = {form for form in forms if len(form) >= _SHORTEST} - self.forms
        if new:
            self.forms |= new
            # The longest first, since a password may be a part of a token. HIDDEN matches too and
            # is replaced by itself: a secret such as `hidden` must not change it in a second pass.
            longest = sorted({*self.forms, HIDDEN}, key=len, reverse=True)
            self.pattern = re.compile("|".join(map(re.escape, longest)))


_known: Final = _Known()


def hide(*secrets: str) -> None:
    """Register secrets to hide; of `user:password`, the password alone as well."""
    for secret in secrets:
        for line in secret.splitlines():
            whole = line.strip()
            _known.add(_forms(whole))
            _known.add(_forms(whole.partition(":")[2]))


def hide_in_addresses(*texts: str) -> None:
    """Register the passwords in URLs that are in these texts."""
    for text in texts:
        for _, value in _PARAMETER.findall(text):
            _known.add(_forms(value))
        if user := _user_of(text):
            _, colon, password = user.partition(":")
            _known.add(_forms(user))
            _known.add(_forms(password if colon else user))


def redacted(text: str) -> str:
    """Replace each secret in a text by `(hidden)`; a redacted text does not change."""
    if "://" in text:
        text = _USER.sub(f"{HIDDEN}@", text)
        text = _PARAMETER.sub(rf"\1={HIDDEN}", text)
    return text if _known.pattern is None else _known.pattern.sub(HIDDEN, text)


class RedactedStream:
    """A wrapper of a text stream that hides secrets in what is written to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; a secret that is split over two calls is not found."""
        self._stream.write(redacted(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)


def redact_streams() -> None:
    """Hide secrets in everything that this process writes to standard output and error."""
    sys.stdout = RedactedStream(sys.stdout or _nowhere())
    sys.stderr = RedactedStream(sys.stderr or _nowhere())


def _nowhere() -> TextIO:
    """A stream in place of one closed before the start; it lives as long as the process."""
    return Path(os.devnull).open("w")


def _user_of(text: str) -> str:
    """The user and password of a URL, also if they lack the required percent-encoding."""
    _, found, rest = text.partition("://")
    if not found or "@" not in rest:
        return ""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        return authority.rpartition("@")[0]
    # A text after the colon that is no port is a password with one of `/?#` in it.
    port = authority.rpartition(":")[2] if ":" in authority else "0"
    return "" if port.isdigit() else rest.rpartition("@")[0]


def _forms(secret: str) -> Iterator[str]:
    """The forms in which a secret may be written."""
    for plain in {secret, unquote(secret)}:
        yield plain
        # A value from the environment may be invalid UTF-8.
        data = plain.encode(errors="surrogateescape")
        for encoded in (quote(data, safe=""), quote(data), quote_plus(data)):
            yield encoded
            yield _PERCENT.sub(lambda found: found[0].lower(), encoded)
        yield json.dumps(plain)[1:-1]
        yield json.dumps(plain, ensure_ascii=False)[1:-1]
        yield repr(plain)[1:-1]
        yield repr(data)[2:-1]
        yield base64.b64encode(data).decode().rstrip("=")
