from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from collector.intakes.librenms.slots import Slots


async def test_one_address_cannot_take_the_slots_of_all() -> None:
    slots = Slots(total=3, per_address=2)
    async with AsyncExitStack() as stack:

        async def taken(address: str) -> bool:
            return await stack.enter_async_context(slots.one(address, within_s=0))

        assert [await taken("192.0.2.1") for _ in range(3)] == [True, True, False]
        # One IPv6 site is one address.
        assert await taken("2001:db8::1")
        assert not await taken("2001:db8::2")
    async with slots.one("192.0.2.1", within_s=0) as free:
        assert free


async def test_slot_is_waited_for_and_given_back_after_a_failure() -> None:
    slots = Slots(total=1, per_address=1)
    entered = asyncio.Event()

    async def fail() -> None:
        async with slots.one("192.0.2.1", within_s=0):
            entered.set()
            await asyncio.sleep(0.05)
            raise ValueError

    failing = asyncio.create_task(fail())
    await entered.wait()
    async with slots.one("192.0.2.2", within_s=60) as free:
        assert free
    assert isinstance((await asyncio.gather(failing, return_exceptions=True))[0], ValueError)
