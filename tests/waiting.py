"""How a test waits for what another task, thread or process does.

A loop around `asyncio.sleep(0)` never lets go of the interpreter: a thread that works beside it
gets it back only every 5 ms (`sys.getswitchinterval`), after each system call anew, and an import
in that thread takes ten seconds instead of one. So this waits with a pause, which is short beside
anything that a test waits for, and patiently: the deadline is for what hangs, not for what is slow
on a busy machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_S = 60.0
PAUSE_S = 0.001


async def until(done: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Return once `done()` is true; TimeoutError if it is not within so many seconds."""
    async with asyncio.timeout(within_s):
        while not done():
            await asyncio.sleep(PAUSE_S)
