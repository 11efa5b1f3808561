"""The coordinator's process: drives the state machine,
and starts and stops the shards that it asks for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from actors.backoff import is_retriable
from actors.errors import EchoRankError, SnapshotError
from cluster.coordinator.coordinator import Coordinator

log = logging.getLogger(__name__)

TICK_S = 0.05
SPREAD_S = 1.0  # how often it is looked whether shards crowd


class Actors(Protocol):
    """The shards' actors."""

    async def spawn(self, number: int, node: str) -> None:
        """Start a shard's actor on a node, if that has room for it, or anywhere."""

    async def stop(self, number: int) -> None:
        """End a shard's actor for good."""

    async def nodes(self) -> frozenset[str]:
        """The nodes that may take shards."""


class CoordinatorProcess:
    """Ticks while shards are spawned and stopped, one at a time;
    both may be repeated after a crash in between.
    """

    def __init__(self, coordinator: Coordinator, actors: Actors) -> None:
        self.coordinator = coordinator
        self._actors = actors

    def methods(self) -> Sequence[Callable[..., Any]]:
        """What other processes may call."""
        coordinator = self.coordinator
        return (
            coordinator.register,
            coordinator.heartbeat,
            coordinator.join,
            coordinator.scale,
            coordinator.drain,
            coordinator.progress,
            coordinator.wait_newer,
        )

    async def run(self) -> None:
        """Tick, scale and spread, for ever.

        Raises:
            Superseded: another coordinator has taken over; this process has to end.
        """
        work = [asyncio.create_task(each()) for each in (self._tick, self._scale, self._spread)]
        done, pending = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            task.result()

    async def _tick(self) -> None:
        failing = False
        while True:
            try:
                self.coordinator.tick()
                failing = False
            except SnapshotError as error:
                if not failing:
                    log.error("nothing moves and nobody takes over until this is mended: %s", error)
                failing = True
            await asyncio.sleep(TICK_S)

    async def _scale(self) -> None:
        while True:
            for number, node in self.coordinator.to_spawn().items():
                with _tried_again(f"shard {number} is started"):
                    await self._actors.spawn(number, node)
                    self.coordinator.spawned(number)
            for number in self.coordinator.to_stop():
                with _tried_again(f"shard {number} is stopped"):
                    await self._actors.stop(number)
                    self.coordinator.stopped(number)
            await asyncio.sleep(TICK_S)

    async def _spread(self) -> None:
        while True:
            with _tried_again("it is looked whether shards crowd"):
                self.coordinator.spread(await self._actors.nodes())
            await asyncio.sleep(SPREAD_S)


@contextmanager
def _tried_again(what: str) -> Iterator[None]:
    """Log what failed and may be repeated; it is, by the next round,
    also what a full disk kept from being saved.
    """
    try:
        yield
    except EchoRankError as error:
        if not (is_retriable(error) or isinstance(error, SnapshotError)):
            raise
        log.error("%s once more: %s", what, error)
