"""Creates tokens (2.x) or users (1.x) for the collector and both Grafanas, stored in files.

For each role, `NAME.token` holds the credential for COLLECTOR_INFLUX_TOKEN, and `NAME.header` the
`Authorization` header for Grafana's `$__file{}`. `NAME.rotation` exists until a rotation is
finished; it lists the credentials to delete. If raw data has its own server, the credentials for it
are those of `NAME-raw`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import TextIOBase
from pathlib import Path
from typing import Final

from collector.influx import Influx, InfluxError
from collector.influx.access import Role, Tokens, Users, roles, works
from collector.influx.credentials import authorization, new_password
from collector.influx.v2 import speaks_v2
from collector.schema import DAILY, RAW

_SECRET_MODE: Final = 0o600


class Outcome(StrEnum):
    """Outcome of `issue` for a role's credential."""

    KEPT = "kept"
    MADE = "made"
    REPLACED = "replaced"


class RotationError(InfluxError):
    """The old credentials cannot be deleted now."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A role's credential: its file, and the outcome."""

    role: Role
    file: Path
    outcome: Outcome


async def requires_password(influx: Influx) -> bool:
    """Whether this server, a 1.x, refuses a wrong password. Raises InfluxUnavailable."""
    # An unknown database is an error too, so a database of this server is asked for.
    database = next(name for name in (DAILY, RAW) if influx.of(name) is influx)
    return not await works(influx, f"nobody:{new_password()}", database)


async def issue(
    influx: Influx, directory: Path, *, rotate: bool, of_senders: Collection[str] = ()
) -> list[Issued]:
    """Ensure a working credential for every role in `directory`, which is created if missing.

    `of_senders` are databases that belong to senders alone (see `roles`).

    Credentials that work and have the right permissions are kept; others are replaced and the old
    ones deleted. With `rotate` all are replaced, and the old ones remain valid until `finish`; an
    unfinished rotation is not repeated. The databases must exist. Raises InfluxError, OSError.
    """
    await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
    issued = []
    for server, role in roles(influx, of_senders):
        one = _issue_token if speaks_v2(await server.ping()) else _issue_user
        issued.append(await one(server, role, directory, rotate=rotate))
    return issued


async def finish(influx: Influx, directory: Path) -> dict[Role, int]:
    """Delete the credentials that a rotation replaced; return their number by role.

    Raises RotationError, before anything is deleted, if a credential in `directory` does not work;
    InfluxError, OSError.
    """
    servers = {role: server for server, role in roles(influx)}
    begun = {role: found for role in servers if (found := _rotation(directory, role))}
    for role in begun:
        if not await _works(servers[role], role, _held(directory, role)[1]):
            raise RotationError(
                f"{role.name}.token in {directory} does not work, so the old one is not deleted:"
                " run `collector provision` without --finish first"
            )
    for role, ended in begun.items():
        server = servers[role]
        is_v2 = speaks_v2(await server.ping())
        for old in ended:
            if is_v2:
                tokens = Tokens(server)
                # Another command may have deleted it meanwhile.
                if old in await asyncio.to_thread(tokens.ids, role):
                    await asyncio.to_thread(tokens.remove, old)
            else:
                await Users(server).remove(old)
        _rotation_file(directory, role).unlink()
    return {role: len(ended) for role, ended in begun.items()}


async def _works(influx: Influx, role: Role, credential: str) -> bool:
    database, _ = role.databases[0]
    return await works(influx, credential, database)


async def _issue_token(influx: Influx, role: Role, directory: Path, *, rotate: bool) -> Issued:
    tokens = Tokens(influx)
    file, held = _held(directory, role)
    good = (
        bool(held)
        and await _works(influx, role, held)
        and await asyncio.to_thread(tokens.holds, role, held)
    )
    if good and (not rotate or _rotation(directory, role)):
        return _issued(role, file, held, Outcome.KEPT)
    before = await asyncio.to_thread(tokens.ids, role) if good else []
    # The file is opened first: a token that cannot be stored would be lost.
    with _replacing(file) as writer:
        token_id, token = await asyncio.to_thread(tokens.make, role)
        try:
            writer.write(token)
            writer.flush()
            _begin(directory, role, token, before)
        except OSError:
            await asyncio.to_thread(tokens.remove, token_id)
            raise
    others = set[str]()
    if not good:
        others = {*await asyncio.to_thread(tokens.ids, role)} - {token_id}
        await asyncio.to_thread(tokens.remove, *others)
    outcome = Outcome.REPLACED if held or others else Outcome.MADE
    return _issued(role, file, token, outcome)


async def _issue_user(influx: Influx, role: Role, directory: Path, *, rotate: bool) -> Issued:
    users = Users(influx)
    file, held = _held(directory, role)
    known = set(users.of(role)) & await users.names()
    for name in known:
        await users.grant(name, role)
    name = held.partition(":")[0]
    good = name in known and await _works(influx, role, held)
    if good and (not rotate or _rotation(directory, role)):
        return _issued(role, file, held, Outcome.KEPT)
    first, second = users.of(role)
    new = second if good and name == first else first
    credential = f"{new}:{new_password()}"
    with _replacing(file) as writer:
        writer.write(credential)
        writer.flush()
        _begin(directory, role, credential, [name] if good else [])
        await users.put(new, credential.removeprefix(f"{new}:"))
        await users.grant(new, role)
    if not good:
        for old in known - {new}:
            await users.remove(old)
    outcome = Outcome.REPLACED if known or held else Outcome.MADE
    return _issued(role, file, credential, outcome)


def _begin(directory: Path, role: Role, credential: str, ended: Sequence[str]) -> None:
    """Store the credentials to delete when the rotation is finished; no file if there are none."""
    file = _rotation_file(directory, role)
    if not ended:
        file.unlink(missing_ok=True)
        return
    with _replacing(file) as writer:
        json.dump({"credential": _digest(credential), "ended": list(ended)}, writer)


def _rotation(directory: Path, role: Role) -> list[str]:
    """The ids or names of the credentials to delete; none without an unfinished rotation."""
    try:
        said = json.loads(_rotation_file(directory, role).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    # If not equal, the rotation was interrupted before the new credential was stored.
    same = said["credential"] == _digest(_held(directory, role)[1])
    return list(said["ended"]) if same else []


def _rotation_file(directory: Path, role: Role) -> Path:
    return directory / f"{role.name}.rotation"


def _digest(credential: str) -> str:
    return hashlib.sha256(credential.encode()).hexdigest()


def _held(directory: Path, role: Role) -> tuple[Path, str]:
    """A role's file, and the credential in it; empty if there is none."""
    file = directory / f"{role.name}.token"
    try:
        return file, file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return file, ""


def _issued(role: Role, file: Path, credential: str, outcome: Outcome) -> Issued:
    with _replacing(file.with_suffix(".header")) as writer:
        writer.write(authorization(credential))
    file.chmod(_SECRET_MODE)
    return Issued(role, file, outcome)


@contextmanager
def _replacing(path: Path) -> Iterator[TextIOBase]:
    """A new file for a secret (mode 0600) that replaces `path` if the block succeeds."""
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
