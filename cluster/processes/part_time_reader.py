"""A reader that is there while it has partitions to read, and has connections only then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from actors.backoff import Backoff, Tries
from actors.errors import EchoRankError
from actors.ingest.ingest import Ingest
from cluster.coordinator.routing import RoutingTable

log = logging.getLogger(__name__)

BACKOFF = Backoff(min_s=1.0, max_s=1.0)


class Shards(Protocol):
    """The shards, as far as they need to be told the routing table."""

    def follow(self, table: RoutingTable) -> None:
        """Use this table from now on."""


class Reader(NamedTuple):
    """An ingest, the shards it feeds, and the way to close its connections."""

    ingest: Ingest
    shards: Shards
    close: Callable[[], None]

    def assign(self, table: RoutingTable, epochs: Mapping[int, int]) -> None:
        """Read these partitions for the shards of this table from now on."""
        self.shards.follow(table)
        self.ingest.assign(epochs)


class PartTimeReader:
    """Opens a reader when it is given partitions, and closes it when it has none left."""

    def __init__(self, name: str, open_reader: Callable[[], Reader]) -> None:
        self._name = name
        self._open = open_reader
        self._given: tuple[RoutingTable, Mapping[int, int]] | None = None
        self._reader: Reader | None = None
        self._wanted = asyncio.Event()
        self._unwanted = asyncio.Event()
        self._ended = False

    def assign(self, table: RoutingTable, epochs: Mapping[int, int]) -> None:
        """Read exactly these partitions from now on."""
        self._given = table, epochs
        if epochs:
            self._unwanted.clear()
            self._wanted.set()
        else:
            self._wanted.clear()
            self._unwanted.set()
        if self._reader is not None:
            self._reader.assign(table, epochs)

    def end(self) -> None:
        """Let `run` finish its round and return."""
        self._ended = True
        self._unwanted.set()
        self._wanted.set()  # only to wake who waits for it

    async def run(self) -> None:
        """Read what there is to read, until `end`.

        Raises:
            EchoRankError: no reader can be opened, for a reason that does not pass.
        """
        await self._wanted.wait()
        tries = Tries(BACKOFF, asyncio.get_running_loop().time)
        while not self._ended:
            try:
                reader = await asyncio.to_thread(self._open)
            except EchoRankError as error:
                wait_s = tries.failed(error)
                log.warning(
                    "nobody reads for %s yet, next try in %.0f s: %s", self._name, wait_s, error
                )
                await asyncio.sleep(wait_s)
                await self._wanted.wait()
                continue
            assert self._given is not None
            self._reader = reader
            reader.assign(*self._given)
            await reader.ingest.run(self._unwanted)
            self._reader = None
            await reader.ingest.close()
            await asyncio.to_thread(reader.close)
            await self._wanted.wait()
