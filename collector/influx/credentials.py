"""Credentials for InfluxDB: a token on 2.x, or `user:password` on 1.x."""

from __future__ import annotations

import secrets
from typing import Final

import aiohttp

_PASSWORD_BYTES: Final = 32


def authorization(credential: str) -> str:
    """The `Authorization` header for a token of InfluxDB 2, or for `user:password` of 1.x."""
    user, colon, password = credential.partition(":")
    return aiohttp.encode_basic_auth(user, password) if colon else f"Token {credential}"


def new_password() -> str:
    """A random password of 43 letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)
