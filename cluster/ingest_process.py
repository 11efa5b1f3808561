"""An ingest's process: reads the partitions that are its part, as soon as each has an owner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from actors.ingest import Ingest
from cluster.routing import RoutingTable


class Followed(Protocol):
    """The coordinator, as far as ingest needs it."""

    async def follow(self, take: Callable[[RoutingTable], Awaitable[None]]) -> None:
        """Hand every new routing table to `take`, for ever."""


class Shards(Protocol):
    """The shards, as far as they need to be told the routing table."""

    def follow(self, table: RoutingTable) -> None:
        """Use this table from now on."""


class IngestProcess:
    """Reads the partitions p with p mod `count` = `number`."""

    def __init__(self, *, ingest: Ingest, shards: Shards, followed: Followed, number: int, count: int) -> None:
        self._ingest, self._shards, self._followed = ingest, shards, followed
        self._number, self._count = number, count
        self._stop = asyncio.Event()
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Follow the routing table and move clicks, until `stop`."""
        following = asyncio.create_task(self._followed.follow(self._follow))
        reading = asyncio.create_task(self._ingest.run(self._stop))
        done, _ = await asyncio.wait((following, reading), return_when=asyncio.FIRST_COMPLETED)
        following.cancel()
        for task in done:
            task.result()
        await self._ingest.close()
        self._stopped.set()

    async def stop(self) -> None:
        """Finish the round in progress and read no more."""
        self._stop.set()
        await self._stopped.wait()

    async def _follow(self, table: RoutingTable) -> None:
        self._shards.follow(table)
        self._ingest.assign(
            {
                partition: route.epoch
                for partition, route in enumerate(table.routes)
                if route.address and partition % self._count == self._number
            }
        )
