"""How long one more call would wait for a shard that answers so many a second,
and its refusal if that is too long.

Under more load than can be answered a queue is as long as its bound, whatever that is. Once it
takes longer than the callers' deadlines every answer comes too late: work is done, and nobody gets
anything. So no call is let into a queue that takes up more than `PART` of the time that it has
left.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc

from actors.calls.deadline import Deadline
from actors.errors import DeadlineExceeded, Overloaded

PART = 0.5  # of the time left: the estimate is a mean, and the answer has to travel, too
MEMORY_S = 1.0  # of being busy, after which an observation counts for 1/e
KNOWN_S = 0.02  # of being busy, before which nothing is concluded
RETRY_AFTER_MIN_S = 0.1


class Backlog:
    """Calls at one server: `width` at a time are let through,
    the others wait in order, as long as it makes sense.

    The rate is the answers per second in which all of the width was taken. For one event loop.
    """

    def __init__(self, width: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._width = width
        self._clock = clock
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._busy_s = self._answers = 0.0  # of late
        self._looked = clock()

    def wait_s(self) -> float:
        """Seconds until one more call would be answered;
        0 while there is room, or nothing is known.
        """
        self._look()
        if self._inside < self._width or self._busy_s < KNOWN_S:
            return 0.0
        return (
            (self._inside + len(self._waiting) + 1)
            * self._busy_s
            / max(self._answers, self._busy_s / 60)
        )

    def check(self, deadline: Deadline) -> None:
        """Raise Overloaded if a call with this deadline would wait too long,
        DeadlineExceeded if it has passed.
        """
        deadline.check("before it was its turn")
        if (wait_s := self.wait_s()) > PART * deadline.left_s():
            raise too_late(wait_s)

    @asynccontextmanager
    async def place(self, deadline: Deadline) -> AsyncIterator[None]:
        """A call's place, once it is its turn; Overloaded at once if that would be too late."""
        self.check(deadline)
        await self._enter()
        try:
            yield
        except Exception as error:
            self._note(answered=not _is_late(error))
            raise
        else:
            self._note(answered=True)
        finally:
            self._leave()

    async def _enter(self) -> None:
        self._look()
        if self._inside < self._width:
            self._inside += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._leave()  # it was let in and has gone
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _leave(self) -> None:
        """Hand the place to who has waited longest."""
        self._look()
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._inside -= 1

    def _note(self, *, answered: bool) -> None:
        self._look()
        if answered and self._inside >= self._width:
            self._answers += 1

    def _look(self) -> None:
        """Count the time since the last look as busy if all of the width was taken."""
        now = self._clock()
        passed = now - self._looked
        self._looked = now
        if self._inside >= self._width:
            fades = math.exp(-passed / MEMORY_S)
            self._busy_s = self._busy_s * fades + passed
            self._answers = self._answers * fades


def too_late(takes_s: float) -> Overloaded:
    """What a call is told whose deadline leaves too little for an
    answer that takes so many seconds.
    """
    return Overloaded(
        f"an answer takes about {takes_s:.2g} s, more than half of what the call has left: more "
        "comes than can be answered; send fewer at a time, retry later, or add shards",
        max(takes_s, RETRY_AFTER_MIN_S),
    )


def _is_late(error: Exception) -> bool:
    """Whether a call ended without an answer, for want of time or room."""
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() in {
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        }
    return isinstance(error, DeadlineExceeded | Overloaded)
