"""The person who scales, drains and erases, and tries again as long as it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVarTuple

from actors.archive.erasure import ErasedRows
from actors.clicks.click import key
from actors.clicks.partitioner import partition_of
from actors.errors import EchoRankError, ErasureIncomplete
from actors.serve.limits import RequestLimits
from cluster.names import ARCHIVE, COORDINATOR
from cluster.operate.erasure import Erasure
from cluster.operate.remote_erasure import RemoteHolders
from cluster.processes.archive_process import ArchiveProcess
from cluster.processes.ray_port import call
from rpc import echorank_pb2 as pb
from tests.simulation.simulated.loop import Process, start_soon

if TYPE_CHECKING:
    from tests.simulation.world import World

RETRY_S = 0.3

Ts = TypeVarTuple("Ts")


class Operator:
    """Asks from a process of its own, which nothing happens to but a bad network."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.process = Process("operator", 0, world.random("operator"))
        self.erasing = 0  # users who are not erased yet

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
        self.erasing += 1
        start_soon(self._world.loop, self.process, self._erase(user))

    async def _erase(self, user: str) -> None:
        world = self._world

        async def log_end(partition: int) -> int:
            return world.topic.end(partition)

        async def remains() -> Sequence[pb.ErasedPlace]:
            return []

        erasure = Erasure(
            partitions=world.scenario.partitions,
            limits=RequestLimits(),
            replicas=RemoteHolders(world.ray, snapshot_s=world.ray.call_s),
            archive=_Archive(world),
            log_end=log_end,
            remains=remains,
            clock=world.clock(),
        )
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
        self.erasing -= 1


class _Archive:
    def __init__(self, world: World) -> None:
        self._world = world

    async def erase(self, partition: int, user_key: int, until: int) -> list[ErasedRows]:
        """By the archive's process, which is there sooner or later."""
        ray = self._world.ray
        return await call(ray, ARCHIVE, ArchiveProcess.erase, partition, user_key, until)
