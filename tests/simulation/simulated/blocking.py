"""Blocking code without threads: each call runs as a greenlet,
which lets others run while it waits for I/O or a lock.

So the shard's and the archive's blocking code runs as it is, and a seed decides what happens
between its steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from types import TracebackType
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

LOCK_RETRY_S = 0.0005


class Died(BaseException):
    """The process is no more; unwinds what is left of its code,
    which has no effects from here on.
    """


def start(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Run `func` until its first wait; `future` gets its outcome,
    unless it was cancelled meanwhile.
    """

    def body() -> None:
        try:
            result = func(*args)
        except (Died, GreenletExit):
            return
        except BaseException as error:
            if not future.done():
                future.set_exception(error)
            return
        if not future.done():
            future.set_result(result)

    thread = greenlet(body)
    thread.gr_context = contextvars.copy_context()
    thread.switch()


def wait(seconds: float) -> bool:
    """Let others run for so long, from within blocking code; False,
    at once, on the event loop itself.
    """
    thread = getcurrent()
    if thread.parent is None:
        return False
    asyncio.get_running_loop().call_later(seconds, thread.switch)
    thread.parent.switch()
    return True


def discard(unwind: Callable[[], Any]) -> None:
    """Unwind code that never finished; what it raises on the way concerns nobody."""
    with contextlib.suppress(BaseException):
        unwind()


class Lock:
    """Stands in for `threading.Lock`; who waits lets others run."""

    def __init__(self) -> None:
        self._held = False

    def acquire(self) -> bool:
        """Wait until it is free, and take it."""
        while self._held:
            assert wait(LOCK_RETRY_S), (
                "the event loop waits for a lock that blocking code holds: it would stand still"
            )
        self._held = True
        return True

    def release(self) -> None:
        """Give it back."""
        assert self._held
        self._held = False

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
