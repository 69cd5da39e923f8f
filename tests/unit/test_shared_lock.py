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
        (await SharedLock(path).take(limit_s=0.01)).release()
    except LockBusy:
        return False
    return True


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
    held = await theirs.take()
    waiting = [asyncio.create_task(ours.take()) for _ in range(2)]
    await asyncio.sleep(0.06)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    held.release()
    assert await is_free(path)
    async with ours:
        pass


async def test_release_by_one_who_holds_it_no_more_frees_nobody_else_s(path: Path) -> None:
    lock = SharedLock(path)
    first = await lock.take()
    first.release()
    with await lock.take():
        first.release()
        assert not await is_free(path)
        with pytest.raises(LockBusy):
            await lock.take(limit_s=0.01)
    assert await is_free(path)


async def test_who_waits_is_told_once_and_gives_up_after_a_limit(path: Path) -> None:
    told: list[None] = []
    with await SharedLock(path).take(busy=lambda: told.append(None)):
        assert told == []
        with pytest.raises(LockBusy, match="held by another process"):
            await SharedLock(path).take(limit_s=0.15, busy=lambda: told.append(None))
    assert len(told) == 1


async def test_lock_that_cannot_be_made_is_an_error_and_is_not_held(tmp_path: Path) -> None:
    lock = SharedLock(tmp_path / "missing" / "rollup.lock")
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            await lock.take()
    (tmp_path / "missing").mkdir()
    async with lock:
        pass
