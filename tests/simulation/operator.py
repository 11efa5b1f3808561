"""The person who scales, drains and erases, and tries again as long as it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVarTuple

from actors.clicks.click import key
from actors.clicks.partitioner import partition_of
from actors.errors import EchoRankError, ErasureIncomplete
from cluster.names import COORDINATOR
from cluster.processes.ray_port import call
from cluster.wiring.erasure import build_erasure
from tests.simulation.simulated.loop import Process, start_soon
from tests.simulation.world import World

RETRY_S = 0.3

Ts = TypeVarTuple("Ts")


class Operator:
    """Asks from a process of its own, which nothing happens to but a bad network."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.process = Process("operator", 0, world.random("operator"))

    def ask(self, method: Callable[[Any, *Ts], Any], *args: *Ts) -> None:
        """Ask the coordinator once; it may refuse, and never hear of it."""

        async def ask() -> None:
            try:
                answer = await call(self._world.ray, COORDINATOR, method, *args)
            except EchoRankError as error:
                answer = error
            self._world.trace.say(self.process, f"hears {answer!r}")

        start_soon(self._world.loop, self.process, ask())

    def erase(self, user: str) -> None:
        """Erase a user, until there is a receipt."""
        self._world.erasing += 1
        start_soon(self._world.loop, self.process, self._erase(user))

    async def _erase(self, user: str) -> None:
        world = self._world
        erasure = build_erasure(world.ports(), world.settings)
        while True:
            try:
                receipt = await erasure.erase(user)
                break
            except ErasureIncomplete as error:
                world.trace.say(self.process, f"hears {error}")
                pause = world.loop.create_future()
                world.loop.call_later(RETRY_S, pause.set_result, None)
                await pause
        world.trace.say(self.process, f"has {user} erased below {receipt.until}")
        world.clean.tombstones.promised(
            partition_of(user, world.scenario.partitions), key(user), receipt.until
        )
        world.erasing -= 1
