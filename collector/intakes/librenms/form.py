"""Reader of the forms of LibreNMS's requests, in every encoding that clients use. Pure.

Clients before 2022 send `data=`, the unencoded JSON text, and a `&`: a `&`, `+`, `%` or `=` in the
text means itself. Later clients encode the form. A brace after `=` marks unencoded JSON, which is
read to its own end. A JSON object in place of a form, and `multipart/form-data`, are accepted too.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Final
from urllib.parse import unquote_plus

_SPACE: Final = " \t\r\n\ufeff"
_DECODER: Final = json.JSONDecoder(strict=False)
_NO_JSON: Final = (ValueError, RecursionError)
"""Exceptions of the decoder for text that is not JSON, or that is nested too deeply."""


def json_field(body: bytes, name: str) -> Any:  # noqa: ANN401 - JSON is anything
    """The JSON value of a form's field, or of a field of a body that is a JSON object.

    Raises ValueError if there is none.
    """
    text = body.decode("utf-8", "replace").strip(_SPACE)
    if text.startswith("{"):
        return _whole(text)
    raw = _raw_value(text, name) or ""
    if raw.startswith("{"):
        # An encoded form may have an unencoded brace.
        with suppress(*_NO_JSON):
            value, end = _DECODER.raw_decode(raw)
            if not (rest := raw[end:].strip(_SPACE)) or rest.startswith("&"):
                return value
    return _whole(text_field(body, name) or "")


def text_field(body: bytes, name: str) -> str | None:
    """The decoded text of a form's field, or of a JSON object's; None if there is none."""
    text = body.decode("utf-8", "replace").strip(_SPACE)
    if text.startswith("{"):
        try:
            said = _whole(text)
        except ValueError:
            return None
        value = said.get(name) if isinstance(said, dict) else None
        return value if isinstance(value, str) else None
    if text.startswith("--"):
        return _part(body, name)
    raw = _raw_value(text, name)
    if raw is None:
        return None
    return unquote_plus(raw.partition("&")[0], errors="replace").strip(_SPACE)


def _whole(text: str) -> Any:  # noqa: ANN401 - JSON is anything
    try:
        return _DECODER.decode(text)
    except _NO_JSON as error:
        raise ValueError("no JSON") from error


def _raw_value(text: str, name: str) -> str | None:
    """The text after the field's name and `=`, up to the form's end; None if there is none."""
    found = re.search(rf"(?:^|&){re.escape(name)}=[{_SPACE}]*", text)
    return None if found is None else text[found.end() :]


def _part(body: bytes, name: str) -> str | None:
    """The text of a field of `multipart/form-data`, whose boundary is the body's first line."""
    boundary = body.lstrip().partition(b"\n")[0].strip()[2:]
    head = b'Content-Type: multipart/form-data; boundary="' + boundary + b'"\r\n\r\n'
    for part in BytesParser(policy=HTTP).parsebytes(head + body).walk():
        if part.get_param("name", header="content-disposition") == name:
            content = part.get_payload(decode=True)
            if isinstance(content, bytes):
                return content.decode("utf-8", "replace").strip(_SPACE)
    return None
