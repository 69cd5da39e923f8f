"""The state directory: its creation, its locks, its version, and the pseudonym key in it.

`VERSION` is the version of the directory as a whole, stored in the file `version` since 2. The
code that opens a file of the directory migrates it: the outbox's file has its own version, since it
can be moved.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import secrets
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from typing import Final

from collector.sqlite.lock import try_lock

KEY_BYTES: Final = 32
VERSION: Final = 2
ROLLUP_LOCK: Final = "rollup.lock"
"""File of the SharedLock that is held while series are computed or raw reports are deleted."""
RECEIVER_LOCK: Final = "lock"
"""File that is locked by the process that takes reports into a state directory."""
PUBLISHER_LOCK: Final = "publish.lock"
"""File that is locked by the process that rolls up days with a state directory."""
PARTICIPANT: Final = "participant"
"""File with the id under which the process that owns the outboxes carries out orders."""
PUBLISHER_PARTICIPANT: Final = "participant-publish"
"""The same of the process that rolls up days."""
_POLL_S: Final = 0.05
_VERSION_FILE: Final = "version"
_FINGERPRINT: Final = "pseudonym.fingerprint"
_UNFINISHED: Final = ".new"
_REMEDY: Final = (
    "every server and node would be counted twice. Put the key back, from a copy or from another"
    " collector that writes to the same InfluxDB. Where it is lost for good,"
    " `collector serve --new-pseudonym-key` begins with a new one"
)


class StateError(Exception):
    """The state directory cannot be used; the text says why and what to do."""


class KeyLost(StateError):
    """The pseudonym key is missing, or is not the one used for the state directory's reports."""


class StateInUse(StateError):
    """Another process has locked the state directory."""


@contextmanager
def locked(directory: Path, *, file: str = RECEIVER_LOCK) -> Iterator[Path]:
    """Lock the state directory for this process alone; it is made (mode 0700) if missing.

    `file` is the lock: a receiver and a publisher may share a directory, two of a kind may not.

    Raises StateError if it cannot be made or written or has a newer version, StateInUse if another
    process has locked it.
    """
    prepare(directory)
    try:
        lock = os.open(directory / file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"{directory}: cannot be written: {error.strerror}") from error
    try:
        if not try_lock(lock):
            raise StateInUse(
                f"{directory} is in use by another collector: stop it, or give this one a"
                " COLLECTOR_STATE_DIR and a COLLECTOR_INSTANCE of its own"
            )
        if _version(directory) != VERSION or not (directory / _VERSION_FILE).exists():
            _write(directory / _VERSION_FILE, str(VERSION))
        yield directory
    finally:
        os.close(lock)


class NotHeld(StateError):
    """A lock that machines share through NATS cannot be had, or is lost; the text says why."""


class LockBusy(StateError):
    """Another process holds a lock for longer than the caller waits."""


class RollingLock(AbstractAsyncContextManager[None]):
    """The lock that is held while series are computed or raw reports are deleted.

    Use `async with` to hold it, or `held` for a limit.
    """

    holder: str
    """Description, for people, of the task or process that holds it while it is busy."""
    _holding: AsyncExitStack

    @abstractmethod
    def held(
        self, *, limit_s: float = math.inf, busy: Callable[[], None] = lambda: None
    ) -> AbstractAsyncContextManager[None]:
        """Hold the lock; `busy` is called if another task or process holds it.

        Raises LockBusy after `limit_s` seconds, NotHeld, OSError.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise NotHeld if the lock was lost since it was taken."""

    async def __aenter__(self) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.held())
            self._holding = stack.pop_all()

    async def __aexit__(self, *_error: object) -> None:
        await self._holding.aclose()


class SharedLock(RollingLock):
    """An asyncio.Lock that is shared with other processes through a file (flock).

    The kernel releases the lock of a process that ends.
    """

    holder = "a running collector"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._here = asyncio.Lock()

    @asynccontextmanager
    async def held(
        self, *, limit_s: float = math.inf, busy: Callable[[], None] = lambda: None
    ) -> AsyncIterator[None]:
        """Hold the lock; `busy` is called if another task or process holds it.

        Raises LockBusy after `limit_s` seconds, OSError if the file cannot be made.
        """
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(None if limit_s == math.inf else limit_s):
                    if self._here.locked():
                        busy()
                    await stack.enter_async_context(self._here)
                    stack.callback(os.close, await self._locked_file(busy))
            except TimeoutError:
                raise LockBusy(f"{self._path} is held by another process") from None
            yield

    def check(self) -> None:
        """Do nothing: the kernel takes the lock from nobody."""

    async def _locked_file(self, busy: Callable[[], None]) -> int:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not try_lock(file):
                busy()
                while not try_lock(file):  # noqa: ASYNC110 - other processes set no event of ours
                    # A thread blocked in flock(2) could not be cancelled.
                    await asyncio.sleep(_POLL_S)
        except BaseException:
            os.close(file)
            raise
        return file


def prepare(directory: Path) -> None:
    """Make the state directory if it is missing, and check that it is usable.

    Raises StateError.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"{directory}: cannot be made: {error.strerror}") from error
    check_usable(directory)


def check_usable(directory: Path) -> None:
    """Raise StateError if a state directory has a newer version or lacks permissions."""
    if not directory.is_dir():
        raise StateError(f"{directory}: is no directory")
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise StateError(f"{directory}: no permission to read and write it")
    version = _version(directory)
    if version > VERSION:
        raise StateError(
            f"{directory} is of version {version}, newer than this collector's ({VERSION}): install"
            " the collector that wrote it, or one after it, or restore a copy of the directory that"
            " was made before the upgrade"
        )


def _version(directory: Path) -> int:
    """Return the version of a state directory; 1 if no file gives it. Raises StateError."""
    try:
        return int(_read(directory / _VERSION_FILE))
    except ValueError:
        # The file is missing or damaged. Each data file has a version of its own, which decides.
        return 1


def _read(path: Path) -> str:
    """Return the text of a file of one line; empty if there is none. Raises StateError."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}") from error


def participant(directory: Path, file: str = PARTICIPANT) -> str:
    """Return the id of a participant of a state directory: six hexadecimal digits.

    The first call makes them up. Raises StateError.
    """
    path = directory / file
    try:
        if path.exists():
            return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise StateError(f"{path}: cannot be read: {error}") from error
    prepare(directory)
    name = secrets.token_hex(3)
    _write(path, name)
    return name


def is_about_directory(path: Path) -> bool:
    """Return whether a file is the lock, the version or the key's fingerprint of a directory."""
    return path.name.removesuffix(_UNFINISHED) in {
        RECEIVER_LOCK,
        _VERSION_FILE,
        _FINGERPRINT,
    }


def _write(path: Path, text: str) -> None:
    """Write a file of one line atomically. Raises StateError."""
    new = path.with_name(f"{path.name}{_UNFINISHED}")
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise StateError(f"{path.parent}: cannot be written: {error.strerror}") from error


def pseudonym_key(path: Path, directory: Path, *, new: bool = False) -> bytes:
    """Return the pseudonym key (32 bytes, hexadecimal in the file) of a state directory.

    A new directory gets a new key, mode 0600. The directory also stores the key's fingerprint:
    another key would give every server and node another pseudonym, and all would be counted twice.
    `new` allows that.

    Raises KeyLost if the key is missing or is another one, StateError if a file cannot be read or
    made, or holds no key.
    """
    key = read_key(path) if path.exists() else None
    # Empty in a new directory, and in one of an earlier version.
    known = _read(directory / _FINGERPRINT)
    if not new:
        if key is None and known:
            raise KeyLost(
                f"the pseudonym key {path} is missing, though {directory} has taken reports under"
                f" it: {_REMEDY}"
            )
        if key is not None and known not in ("", fingerprint(key)):
            raise KeyLost(
                f"the pseudonym key {path} is not the one under which {directory} has taken"
                f" reports: {_REMEDY}"
            )
    if key is None:
        key = _new_key(path)
    if known != fingerprint(key):
        _write(directory / _FINGERPRINT, fingerprint(key))
    return key


def fingerprint(key: bytes) -> str:
    """Return a digest that identifies a key and reveals neither it nor pseudonyms."""
    return hashlib.blake2b(key, digest_size=16, person=b"collector-print").hexdigest()


def _new_key(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    try:
        # A key lost to a power cut would orphan every pseudonym made with it.
        write_new(path, f"{key.hex()}\n".encode())
    except FileExistsError:
        # Another process of this collector has made the key meanwhile.
        return read_key(path)
    except OSError as error:
        raise StateError(f"{path}: cannot be made: {error.strerror}") from error
    return key


def write_new(path: Path, content: bytes) -> None:
    """Make a file (mode 0600) that is on the disk at once. Raises FileExistsError, OSError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_key(path: Path) -> bytes:
    """Read the pseudonym key from a file. Raises StateError if that fails or it is no key."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise StateError(f"{path}: is no pseudonym key (64 hexadecimal digits)")
    return key
