"""Waiting for a click to become visible:
coroutines sleep until the arm that they ask has applied an offset.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class AppliedOffsets:
    """Wakes coroutines of one event loop when a partition has moved on; any thread may say so."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: defaultdict[int, set[asyncio.Event]] = defaultdict(set)

    def notify(self, partition: int, _position: int) -> None:
        """Say, from any thread, that `partition` has moved on; cheap when nobody waits."""
        if self._waiting.get(partition):
            self._loop.call_soon_threadsafe(self._wake, partition)

    async def wait(
        self, partition: int, offset: int, position: Callable[[], int], timeout_s: float
    ) -> bool:
        """True once `position()`, that of the arm asked, is `offset`;
        False if `timeout_s` seconds pass first.
        """
        if position() >= offset:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                with self._woken(partition) as moved:
                    # registered before the position is read again, so that no move falls between
                    while position() < offset:
                        await moved.wait()
                        moved.clear()
        except TimeoutError:
            return False
        return True

    @contextmanager
    def _woken(self, partition: int) -> Iterator[asyncio.Event]:
        moved = asyncio.Event()
        self._waiting[partition].add(moved)
        try:
            yield moved
        finally:
            self._waiting[partition].discard(moved)

    def _wake(self, partition: int) -> None:
        for moved in self._waiting[partition]:
            moved.set()
