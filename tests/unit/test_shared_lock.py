"""The lock that workers and commands of a state directory share; two objects are two processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from collector.state import LockBusy, SharedLock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rollup.lock"


async def is_free(path: Path) -> bool:
    try:
        async with SharedLock(path).held(limit_s=0.01):
            return True
    except LockBusy:
        return False


async def test_lock_excludes_other_tasks_and_other_processes(path: Path) -> None:
    ours, theirs = SharedLock(path), SharedLock(path)
    inside = 0

    async def work(lock: SharedLock) -> None:
        nonlocal inside
        async with lock:
            inside += 1
            assert inside == 1
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(work(lock) for lock in (ours, theirs, ours, theirs)))


async def test_lock_is_given_back_whatever_happens_inside(path: Path) -> None:
    lock = SharedLock(path)
    with pytest.raises(ZeroDivisionError):
        async with lock:
            raise ZeroDivisionError
    assert await is_free(path)

    entered = asyncio.Event()

    async def work() -> None:
        async with lock:
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    assert not await is_free(path)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await is_free(path)


async def test_waiter_that_is_cancelled_leaves_no_trace(path: Path) -> None:
    ours, theirs = SharedLock(path), SharedLock(path)

    async def work() -> None:
        async with ours:
            raise AssertionError("the lock was taken twice")

    async with theirs:
        waiting = [asyncio.create_task(work()) for _ in range(2)]
        await asyncio.sleep(0.06)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert all(task.cancelled() for task in waiting)
    assert await is_free(path)
    async with ours:
        pass


async def test_who_waits_is_told_once_and_gives_up_after_a_limit(path: Path) -> None:
    told: list[None] = []
    lock = SharedLock(path)
    async with lock.held(busy=lambda: told.append(None)):
        assert told == []
        with pytest.raises(LockBusy, match="held by another process"):
            async with SharedLock(path).held(limit_s=0.15, busy=lambda: told.append(None)):
                pass
        assert len(told) == 1
        # A task of the same process waits in the same way.
        with pytest.raises(LockBusy):
            async with lock.held(limit_s=0.01):
                pass
    assert await is_free(path)


async def test_lock_that_cannot_be_made_is_an_error_and_is_not_held(tmp_path: Path) -> None:
    lock = SharedLock(tmp_path / "missing" / "rollup.lock")
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            async with lock:
                pass
    (tmp_path / "missing").mkdir()
    async with lock:
        pass
