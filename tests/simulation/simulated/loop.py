"""Virtual time: an event loop that jumps to its next timer,
and knows which process each callback belongs to.

A process is a context: whatever runs in it schedules into it. So a crash drops everything of a
process without running any of its code, and a pause (SIGSTOP) holds it, while timers go on and
messages pile up.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from random import Random
from typing import Any

from actors.errors import EchoRankError
from tests.simulation.simulated import blocking

DISPATCH_S = 0.002  # until a worker thread takes up a call, at most


class Process:
    """One incarnation of a process."""

    def __init__(self, name: str, number: int, random: Random) -> None:
        self.name = name
        self.number = number
        self.random = random
        self.node = ""  # which takes the process along when it ends; empty: one that does not
        self.alive = True
        self.held: list[asyncio.Handle] | None = None  # while it is paused: what would have run
        # after so many operations, that happens
        self.fuse: tuple[int, Callable[[Process], None]] | None = None
        self.clock_offset_ms = 0.0
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)

    def __str__(self) -> str:
        return f"{self.name}.{self.number}"

    def step(self) -> None:
        """Count one operation on disk or network; may be the process's last.

        Raises:
            blocking.Died: the process died just now, so nothing of its code must go on.
        """
        if self.alive and self.fuse is not None:
            left, effect = self.fuse
            self.fuse = (left - 1, effect) if left else None
            if not left:
                effect(self)
        if not self.alive:
            raise blocking.Died


PROCESS: ContextVar[Process] = ContextVar("PROCESS")


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs callbacks in the order of their times,
    and in the order in which they were scheduled where times are equal.

    `run_in_executor`, and with it `asyncio.to_thread`, runs blocking code as a greenlet
    (`blocking`). `on_step` is called after each callback with the process that ran, `on_defect`
    with errors that nobody handles.
    """

    def __init__(
        self, on_step: Callable[[Process], None], on_defect: Callable[[str, BaseException], None]
    ) -> None:
        self._now = 0.0
        self._number = itertools.count()
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.Handle]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._on_step = on_step
        self._on_defect = on_defect

    def time(self) -> float:
        """Seconds since the simulation's start."""
        return self._now

    def call_soon(
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run next."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run at a time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._number), handle))
        return handle

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        """Run after `delay` seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """A task of this loop."""
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def run_in_executor(self, _executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Run blocking code as a greenlet, a moment later."""
        future = self.create_future()
        self.call_later(
            PROCESS.get().random.random() * DISPATCH_S, blocking.start, future, func, args
        )
        return future

    def run_until(self, deadline: float, done: Callable[[], bool]) -> bool:
        """Run callbacks until `done()` is true after one of them,
        or the time is `deadline`; whether `done()` was.
        """
        with self._running():
            while not (finished := done()):
                if not self._ready and not self._advance(deadline):
                    break
                self._run(self._ready.popleft())
        return finished

    def _advance(self, deadline: float) -> bool:
        if not self._timers or self._timers[0][0] > deadline:
            self._now = deadline
            return False
        when, _, handle = heapq.heappop(self._timers)
        self._now = max(self._now, when)
        self._ready.append(handle)
        return True

    def _run(self, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        process = handle._context[PROCESS]  # type: ignore[attr-defined]
        if process.held is not None:
            process.held.append(handle)
        elif process.alive:
            handle._run()
            self._on_step(process)

    def release(self, process: Process) -> None:
        """End a pause: what was held runs now, in its order."""
        held = process.held or []
        process.held = None
        self._ready.extend(held)

    def dispose(self) -> None:
        """Report errors that nobody took, and let go of what never finished:
        all processes are dead by now.
        """
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                blocking.discard(task.get_coro().close)
            elif task._log_traceback and not isinstance(task.exception(), EchoRankError):  # type: ignore[attr-defined]
                self.call_exception_handler(
                    {"message": f"in {task.get_coro()}", "exception": task.exception()}
                )
        self._tasks.clear()
        self._timers.clear()
        self._ready.clear()

    @contextmanager
    def _running(self) -> Iterator[None]:
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error that nobody handles is a defect, unless its process just died of it."""
        error = context.get("exception")
        if error is not None and not isinstance(error, (blocking.Died, asyncio.CancelledError)):
            self._on_defect(context.get("message", ""), error)

    def get_debug(self) -> bool:
        """Never: asyncio's own checks take real time."""
        return False

    def is_running(self) -> bool:
        """As far as asyncio asks."""
        return True

    def is_closed(self) -> bool:
        """Never."""
        return False

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        """It stays among the timers and is passed over."""


def start_soon(
    loop: VirtualLoop, process: Process, work: Coroutine[Any, Any, Any], delay_s: float = 0.0
) -> None:
    """Run a coroutine as a task of `process`."""
    context = process.context
    loop.call_later(delay_s, lambda: loop.create_task(work, context=context), context=context)
