"""An ingest's process: reads the partitions that are its part,
once for each group of arms that goes on by itself.

That are the owners' arms in front, which come first and are always read for; those behind the
front, while there are any; and the same of standbys. The readers share nothing: who restores or
lags never holds up the owners' front.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from actors.shard.roles import Feed, Role
from cluster.coordinator.ports import CoordinatorForIngest
from cluster.coordinator.routing import RoutingTable
from cluster.processes.part_time_reader import PartTimeReader, Reader

Group = tuple[Role, Feed]

PART_TIME: dict[Group, str] = {
    (Role.OWNER, Feed.BEHIND): "arms behind the front",
    (Role.STANDBY, Feed.FRONT): "standbys",
    (Role.STANDBY, Feed.BEHIND): "standbys' arms behind the front",
}


class IngestProcess:
    """Reads the partitions p with p mod `count` = `number`.

    The readers besides the owners' exist while they have a part: that of standbys always where
    these are configured, else while partitions move; those of arms behind the front while such arms
    catch up.
    """

    def __init__(
        self,
        *,
        owners: Reader,
        open_reader: Callable[[Role, Feed], Reader],
        coordinator: CoordinatorForIngest,
        number: int,
        count: int,
    ) -> None:
        self._owners = owners
        self._coordinator = coordinator
        self._number = number
        self._count = count
        self._others = {
            (role, feed): PartTimeReader(name, lambda role=role, feed=feed: open_reader(role, feed))  # type: ignore[misc]
            for (role, feed), name in PART_TIME.items()
        }
        self._stop = asyncio.Event()
        self._stopped = asyncio.Event()

    def methods(self) -> Sequence[Callable[..., Any]]:
        """What other processes may call."""
        return (self.stop,)

    async def run(self) -> None:
        """Follow the routing table and move clicks, until `stop`."""
        following = asyncio.create_task(self._coordinator.follow(self._follow))
        reading = asyncio.create_task(self._owners.ingest.run(self._stop))
        others = [asyncio.create_task(other.run()) for other in self._others.values()]
        done, _ = await asyncio.wait(
            (following, reading, *others), return_when=asyncio.FIRST_COMPLETED
        )
        following.cancel()
        for task in done:
            task.result()
        for other in self._others.values():
            other.end()
        await asyncio.gather(*others)
        await self._owners.ingest.close()
        self._stopped.set()

    async def stop(self) -> None:
        """Finish the round in progress and read no more."""
        self._stop.set()
        await self._stopped.wait()

    async def _follow(self, table: RoutingTable) -> None:
        self._owners.assign(table, self._part(table, Role.OWNER, Feed.FRONT))
        for group, other in self._others.items():
            other.assign(table, self._part(table, *group))

    def _part(self, table: RoutingTable, role: Role, feed: Feed) -> dict[int, int]:
        """The epoch of each partition of ours that has a registered replica in
        this role, with arms of this kind.
        """
        return {
            partition: replica.epoch
            for partition, replica in table.replicas(role).items()
            if partition % self._count == self._number and (feed is Feed.FRONT or replica.behind)
        }
