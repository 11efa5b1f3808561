"""The one who says which shard owns which partition, and under which epoch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from actors.errors import ConfigError, NotOwner
from actors.traffic import Arm
from cluster.assignment_file import Saved
from cluster.routing import Route, RoutingTable
from monitoring.discovery import Target

log = logging.getLogger(__name__)


class Memory(Protocol):
    """Where the table outlives the coordinator."""

    def load(self) -> Saved | None:
        """What was saved last."""

    def save(self, saved: Saved) -> None:
        """Keep this instead."""


class Coordinator:
    """Assigns partitions, fences old owners by epoch, and publishes routing tables.

    Each registration of a shard raises the epochs of its partitions, so that what its predecessor still does is
    refused. A table is saved before anybody sees it; after its own death the coordinator goes on with the table it
    finds, if that is of the same run, and else keeps only owners and epochs: addresses of another run mean nothing.

    Raises:
        ConfigError: the saved assignment is for another number of partitions.
    """

    def __init__(
        self, *, run: str, partitions: int, shards: Sequence[str], arms: Iterable[Arm], memory: Memory
    ) -> None:
        self._run, self._memory = run, memory
        self._shards = tuple(shards)
        self._changed = asyncio.Event()
        self.table = self._first_table(memory.load(), partitions, tuple(arms))

    def register(self, shard: str, address: str, target: Target) -> dict[int, int]:
        """A shard starts: its partitions, each with a new epoch. It answers gRPC at `address`."""
        if shard not in self._shards:
            raise NotOwner(f"shard {shard!r} is not part of this deployment, which has {', '.join(self._shards)}")

        def renewed(route: Route) -> Route:
            return replace(route, address=address, epoch=route.epoch + 1, ready=False)

        self._publish(routes=self._with(lambda _, route: route.shard == shard, renewed), targets=self._joined(target))
        return self.table.epochs(shard)

    def join(self, target: Target) -> None:
        """A process other than a shard starts, with metrics at `target`."""
        self._publish(targets=self._joined(target))

    def ready(self, epochs: dict[int, int]) -> None:
        """The owners under these epochs have caught up; what an older epoch says is ignored."""

        def caught_up(partition: int, route: Route) -> bool:
            return epochs.get(partition) == route.epoch and not route.ready

        routes = self._with(caught_up, lambda route: replace(route, ready=True))
        if routes != self.table.routes:
            self._publish(routes=routes)

    async def wait_newer(self, version: int, timeout_s: float) -> RoutingTable:
        """The table as soon as its version is above `version`; after `timeout_s` seconds as it is."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.table.version <= version:
                    await self._changed.wait()
        except TimeoutError:
            log.debug("no table newer than %d in %.0f s", version, timeout_s)
        return self.table

    def _with(self, chosen: Callable[[int, Route], bool], change: Callable[[Route], Route]) -> tuple[Route, ...]:
        return tuple(change(route) if chosen(at, route) else route for at, route in enumerate(self.table.routes))

    def _joined(self, target: Target) -> tuple[Target, ...]:
        others = (other for other in self.table.targets if other.name != target.name)
        return tuple(sorted((*others, target), key=lambda each: each.name))

    def _publish(self, *, routes: tuple[Route, ...] | None = None, targets: tuple[Target, ...] | None = None) -> None:
        now = self.table
        table = replace(
            now,
            version=now.version + 1,
            routes=now.routes if routes is None else routes,
            targets=now.targets if targets is None else targets,
        )
        self._memory.save(Saved(self._run, table))
        self.table = table
        self._changed.set()
        self._changed = asyncio.Event()

    def _first_table(self, saved: Saved | None, partitions: int, arms: tuple[Arm, ...]) -> RoutingTable:
        if saved is None:
            return RoutingTable(version=1, routes=tuple(self._fresh(p, epoch=0) for p in range(partitions)), arms=arms)
        if saved.table.partitions != partitions:
            raise ConfigError(
                f"topics.partitions is {partitions}, but the states in state.directory are of "
                f"{saved.table.partitions} partitions and users would land elsewhere; set it back, or start with "
                "an empty state.directory"
            )
        if saved.run == self._run:
            return replace(saved.table, version=saved.table.version + 1)
        routes = tuple(self._fresh(p, route.epoch) for p, route in enumerate(saved.table.routes))
        return RoutingTable(version=saved.table.version + 1, routes=routes, arms=arms)

    def _fresh(self, partition: int, epoch: int) -> Route:
        return Route(shard=self._shards[partition % len(self._shards)], epoch=epoch)
