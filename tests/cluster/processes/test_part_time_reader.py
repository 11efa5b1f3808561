"""A reader that is there while it has something to read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from actors.backoff import Backoff
from actors.errors import BrokerUnavailable, ConfigError
from actors.shard.roles import Feed, Role
from cluster.coordinator.routing import Replica, Route, RoutingTable
from cluster.processes import part_time_reader
from cluster.processes.ingest_process import IngestProcess
from cluster.processes.part_time_reader import PartTimeReader, Reader
from tests.waiting import until


@dataclass
class FakeIngest:
    """Says what it was given and whether it reads."""

    epochs: dict[int, int] = field(default_factory=dict)
    reads: bool = False

    def assign(self, epochs: dict[int, int]) -> None:
        self.epochs = dict(epochs)

    async def run(self, stop: asyncio.Event) -> None:
        self.reads = True
        await stop.wait()
        self.reads = False

    async def close(self) -> None:
        self.epochs = {}


class FakeShards:
    """Keeps the table."""

    def follow(self, table: RoutingTable) -> None:
        self.table = table


@dataclass
class Readers:
    """Opens readers; `faults` come first."""

    faults: list[Exception] = field(default_factory=list)
    opened: list[FakeIngest] = field(default_factory=list)
    closed: int = 0

    def open(self) -> Any:
        if self.faults:
            raise self.faults.pop(0)
        self.opened.append(FakeIngest())
        return Reader(self.opened[-1], FakeShards(), self._close)  # type: ignore[arg-type]

    def _close(self) -> None:
        self.closed += 1


def table(*behind: bool) -> RoutingTable:
    """A table of one owner a partition, some with arms behind the front."""
    owners = (Replica(shard="shard-0", epoch=7, address="a:1", behind=each) for each in behind)
    return RoutingTable(version=1, routes=tuple(Route(owner=owner) for owner in owners))


async def test_what_does_not_pass_ends_it() -> None:
    """A reader that can never be opened is not waited for."""
    readers = Readers(faults=[ConfigError("no such topic")])
    reader = PartTimeReader("somebody", readers.open)
    reader.assign(table(True), {0: 7})
    with pytest.raises(ConfigError, match="no such topic"):
        await reader.run()
    assert readers.opened == []


async def test_it_reads_while_it_has_partitions(monkeypatch: Any) -> None:
    """Opened with the first partition, told of changes, closed with the last one,
    opened again; ends when asked.
    """
    monkeypatch.setattr(part_time_reader, "BACKOFF", Backoff(min_s=0.01, max_s=0.01))
    readers = Readers(faults=[BrokerUnavailable("not yet")])
    reader = PartTimeReader("somebody", readers.open)
    running = asyncio.create_task(reader.run())
    reader.assign(table(False), {})
    reader.assign(table(True), {0: 7})
    await until(lambda: bool(readers.opened) and readers.opened[0].reads)
    reader.assign(table(True), {0: 8, 1: 7})
    assert readers.opened[0].epochs == {0: 8, 1: 7}
    reader.assign(table(False), {})
    await until(lambda: readers.closed == 1)
    reader.assign(table(True), {0: 9})
    await until(lambda: len(readers.opened) == 2 and readers.opened[1].reads)
    reader.end()
    await running
    assert (readers.closed, readers.opened[1].reads) == (2, False)


class FakeCoordinator:
    """A coordinator that hands out tables."""

    def __init__(self) -> None:
        self.tables: asyncio.Queue[RoutingTable] = asyncio.Queue()

    async def follow(self, take: Any) -> None:
        while True:
            await take(await self.tables.get())


async def test_arms_behind_the_front_have_a_reader_of_their_own() -> None:
    """It reads the partitions that the table says have such arms,
    and is there as long as there are any.
    """
    owners = FakeIngest()
    others = dict[tuple[Role, Feed], Readers]()

    def open_reader(role: Role, feed: Feed) -> Any:
        return others.setdefault((role, feed), Readers()).open()

    coordinator = FakeCoordinator()
    process = IngestProcess(
        owners=Reader(owners, FakeShards(), lambda: None),  # type: ignore[arg-type]
        open_reader=open_reader,
        coordinator=coordinator,
        number=0,
        count=1,
    )
    running = asyncio.create_task(process.run())
    await coordinator.tables.put(table(False, True))
    behind = Role.OWNER, Feed.BEHIND
    await until(lambda: behind in others and others[behind].opened[0].reads)
    assert (owners.epochs, others[behind].opened[0].epochs, len(others)) == (
        {0: 7, 1: 7},
        {1: 7},
        1,
    )
    await coordinator.tables.put(table(False, False))
    await until(lambda: others[behind].closed == 1)
    await process.stop()
    await running
