"""Tokens (2.x) or users (1.x) for the collector and both Grafanas, kept in files.

Of each role `NAME.token` holds the credential as COLLECTOR_INFLUX_TOKEN takes it, and
`NAME.header` the whole `Authorization` header, as Grafana's `$__file{}` needs it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import TextIOBase
from pathlib import Path
from typing import Final

from collector.influx import Influx
from collector.influx.access import (
    ROLES,
    Role,
    Tokens,
    Users,
    header,
    label,
    new_password,
    works,
)
from collector.influx.v2 import speaks_v2

_SECRET_MODE: Final = 0o600


class Outcome(StrEnum):
    """What became of a role's credential."""

    KEPT = "kept"
    MADE = "made"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Issued:
    """A role's credential: where it is, and what became of it."""

    role: Role
    label: str
    file: Path
    outcome: Outcome


async def asks_for_password(influx: Influx) -> bool:
    """Whether a 1.x server refuses who gives a wrong password. Raises InfluxUnavailable."""
    return not await works(influx, f"nobody:{new_password()}")


async def issue(influx: Influx, directory: Path, *, rotate: bool) -> list[Issued]:
    """See to a working credential of every role in `directory`, which is made where missing.

    One that works and permits what it should is kept unless `rotate`; any other is replaced, and
    the old one ends with it. The databases must be there. Raises InfluxError, OSError.
    """
    await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
    if speaks_v2(await influx.ping()):
        return [await _issue_token(influx, role, directory, rotate=rotate) for role in ROLES]
    return [await _issue_user(influx, role, directory, rotate=rotate) for role in ROLES]


async def _issue_token(influx: Influx, role: Role, directory: Path, *, rotate: bool) -> Issued:
    tokens = Tokens(influx)
    file, held = _held(directory, role)
    if (
        held
        and not rotate
        and await works(influx, held)
        and await asyncio.to_thread(tokens.holds, role, held)
    ):
        return _issued(influx, role, file, held, Outcome.KEPT)
    # The file first: a token that could not be kept would be a secret that nobody has.
    with _replacing(file) as writer:
        token_id, token = await asyncio.to_thread(tokens.make, role)
        try:
            writer.write(token)
            writer.flush()
        except OSError:
            await asyncio.to_thread(tokens.remove, token_id)
            raise
    removed = await asyncio.to_thread(tokens.remove_others, role, but=token_id)
    outcome = Outcome.REPLACED if held or removed else Outcome.MADE
    return _issued(influx, role, file, token, outcome)


async def _issue_user(influx: Influx, role: Role, directory: Path, *, rotate: bool) -> Issued:
    users = Users(influx)
    file, held = _held(directory, role)
    name = label(influx, role)
    known = name in await users.names()
    if known:
        await users.grant(role)
    if known and held.startswith(f"{name}:") and not rotate and await works(influx, held):
        return _issued(influx, role, file, held, Outcome.KEPT)
    credential = f"{name}:{new_password()}"
    with _replacing(file) as writer:
        writer.write(credential)
        writer.flush()
        await users.put(role, credential.removeprefix(f"{name}:"))
        await users.grant(role)
    outcome = Outcome.REPLACED if known or held else Outcome.MADE
    return _issued(influx, role, file, credential, outcome)


def _held(directory: Path, role: Role) -> tuple[Path, str]:
    """A role's file, and the credential in it; empty where there is none."""
    file = directory / f"{role.name}.token"
    try:
        return file, file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return file, ""


def _issued(influx: Influx, role: Role, file: Path, credential: str, outcome: Outcome) -> Issued:
    with _replacing(file.with_suffix(".header")) as writer:
        writer.write(header(credential))
    file.chmod(_SECRET_MODE)
    return Issued(role, label(influx, role), file, outcome)


@contextmanager
def _replacing(path: Path) -> Iterator[TextIOBase]:
    """A new file for a secret (mode 0600), which replaces `path` if the block ends well."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _SECRET_MODE)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
