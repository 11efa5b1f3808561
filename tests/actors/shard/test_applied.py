from __future__ import annotations

import asyncio

from actors.shard.applied import AppliedOffsets


async def test_a_waiter_wakes_when_another_thread_gets_there() -> None:
    """The wait ends with True once the position, moved by another thread, reaches the offset."""
    applied = AppliedOffsets(asyncio.get_running_loop())
    positions = {3: 0}
    waiting = asyncio.create_task(applied.wait(3, 2, lambda: positions[3], timeout_s=5))
    await asyncio.sleep(0)

    def move() -> None:
        for position in (1, 2):
            positions[3] = position
            applied.notify(3, position)

    await asyncio.to_thread(move)
    assert await waiting


async def test_a_position_that_is_there_needs_no_waiting() -> None:
    """With a time-out of 0 the answer is still True."""
    assert await AppliedOffsets(asyncio.get_running_loop()).wait(0, 5, lambda: 5, timeout_s=0)


async def test_a_wait_ends_in_time() -> None:
    """Without progress the answer is False after the time-out."""
    assert not await AppliedOffsets(asyncio.get_running_loop()).wait(
        0, 5, lambda: 4, timeout_s=0.01
    )
