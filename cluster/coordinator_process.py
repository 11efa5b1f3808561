"""The coordinator's process: drives the state machine, and starts and stops the shards that scaling asks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from actors.errors import ShardUnavailable, SnapshotError
from cluster.coordinator import Coordinator

log = logging.getLogger(__name__)

TICK_S = 0.05


class CoordinatorProcess:
    """Ticks while shards are spawned and stopped, one at a time; both may be repeated after a crash in between."""

    def __init__(
        self,
        coordinator: Coordinator,
        *,
        spawn: Callable[[int], Awaitable[None]],
        stop: Callable[[int], Awaitable[None]],
    ) -> None:
        self.coordinator = coordinator
        self._spawn, self._stop = spawn, stop

    async def run(self) -> None:
        """Tick and scale, for ever.

        Raises:
            Superseded: another coordinator has taken over; this process has to end.
        """
        ticking, scaling = asyncio.create_task(self._tick()), asyncio.create_task(self._scale())
        done, pending = await asyncio.wait((ticking, scaling), return_when=asyncio.FIRST_COMPLETED)
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
            for numbers, change, done in (
                (self.coordinator.to_spawn(), self._spawn, self.coordinator.spawned),
                (self.coordinator.to_stop(), self._stop, self.coordinator.stopped),
            ):
                for number in numbers:
                    try:
                        await change(number)
                        done(number)
                    except (SnapshotError, ShardUnavailable) as error:
                        log.error("shard %d is started or stopped once more: %s", number, error)
            await asyncio.sleep(TICK_S)
