"""The Ray actor of every process: thin, async, and restarted by Ray.

Ray runs a restarted actor's constructor again and no other call, so a constructor's argument is the
function that builds and starts everything, and an actor that has been constructed works. When
something in an actor fails that should run for ever, the process ends at once and Ray starts
another: a half-dead process helps nobody. So it does when a restarted actor cannot be constructed
(a port still taken, a file system that does not answer): Ray gives an actor up whose constructor
raises, but starts one again whose process ends. At the first start the error goes to the starter. A
coordinator that another one has superseded ends like that, too: its successor may be of the same
actor, which must not be killed. If it is of another run, the next start finds that out and fails.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from actors.errors import OtherRun
from cluster.processes.ray_port import Ray

Method = Callable[..., Any]  # bound; a coroutine function or a plain one


class Process(Protocol):
    """What an actor holds."""

    async def run(self) -> None:
        """Work, for ever or until a method ends it; what it raises ends the process."""

    def methods(self) -> Sequence[Method]:
        """All that other processes may call."""
        ...


class Actor:
    """Lets other processes call the methods that its process lists, by their qualified names."""

    async def __init__(self, ray: Ray, build: Callable[[], Awaitable[Process]]) -> None:  # type: ignore[misc]  # Ray awaits it
        self._ray = ray
        self._process = await self._built(build)
        callable_here = (self.pid, *self._process.methods())
        self._methods = {each.__qualname__: each for each in callable_here}
        self._running = asyncio.create_task(self._process.run())
        self._running.add_done_callback(self._end_with)

    async def call(self, method: str, *args: Any) -> Any:
        """What the method answers; AttributeError if it is none that may be called."""
        if method not in self._methods:
            known = ", ".join(self._methods)
            raise AttributeError(f"{method} cannot be called here, only: {known}")
        answer = self._methods[method](*args)
        return await answer if inspect.isawaitable(answer) else answer

    async def pid(self) -> int:
        """The process id; answered once the constructor is through."""
        return os.getpid()

    async def _built(self, build: Callable[[], Awaitable[Process]]) -> Process:
        try:
            return await build()
        except OtherRun:
            raise
        except Exception as error:
            if self._ray.restarted:
                self._ray.end(error)
            raise

    def _end_with(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._ray.end(error)
