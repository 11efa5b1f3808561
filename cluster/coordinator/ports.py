"""The coordinator as each of its callers needs it: shards, ingest, gateways and operators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from actors.shard.roles import Assignment, Report
from cluster.coordinator.coordinator import Progress
from cluster.coordinator.routing import RoutingTable
from monitoring.discovery import Target


class CoordinatorForShards(Protocol):
    """The coordinator, as far as a shard needs it."""

    async def register(self, shard: str, address: str, target: Target, node: str) -> int:
        """This process's incarnation."""
        ...

    async def heartbeat(self, shard: str, report: Report) -> Assignment:
        """What the shard is to hold.

        Raises:
            ShardUnavailable: the coordinator does not answer.
            NotOwner: this process was replaced.
        """
        ...


class CoordinatorForIngest(Protocol):
    """The coordinator, as far as ingest needs it."""

    async def follow(self, take: Callable[[RoutingTable], Awaitable[None]]) -> None:
        """Hand every new routing table to `take`, for ever."""


class CoordinatorForGateways(Protocol):
    """The coordinator, as far as a gateway needs it."""

    async def join(self, target: Target) -> None:
        """Show where this process has its metrics."""

    async def follow(self, take: Callable[[RoutingTable], Awaitable[None]]) -> None:
        """Hand every new routing table to `take`, for ever."""


class CoordinatorForOperators(Protocol):
    """The coordinator, as far as operators need it."""

    async def scale(self, shards: int) -> Progress:
        """Ask for so many shards; InvalidRequest for none, or more than there are partitions."""
        ...

    async def drain(self, shard: str) -> Progress:
        """Ask for an empty shard; UnknownShard if there is none of that name,
        InvalidRequest if it is the only one.
        """
        ...

    async def progress(self) -> Progress:
        """How far the shards are from what was asked for."""
        ...
