"""A user removed from every place that EchoRank keeps,
in an order that survives a death between any two steps.

1. The log's end: whatever was sent before the call lies below it.
2. At the owner: a durable tombstone, then the states of all arms.
3. At the standby: the states, by the same tombstone; before the snapshots, because a standby moves
   on meanwhile.
4. Snapshots: all rows saved anew, every older file deleted.
5. The routing table once more: a replica that was granted the partition before the tombstone was
   durable may have missed it. If the replicas are others by now, from 2 on again.
6. The archive's files.

That is done in the partition where the user is at home, and then in every other one that names the
user: a record with another key, or none, was folded and archived where it lay.

Each step may be repeated. What fails leaves the earlier steps done, and says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from actors.archive.erasure import ErasedRows
from actors.backoff import Backoff, Tries
from actors.clicks.click import key
from actors.clicks.partitioner import partition_of
from actors.clock import Clock
from actors.errors import (
    EchoRankError,
    ErasureIncomplete,
    ShardUnavailable,
    StaleEpoch,
    TombstoneTooLow,
)
from actors.serve.limits import RequestLimits
from actors.shard.erasure import ErasedStates
from actors.shard.roles import Role
from actors.snapshots.store import Deleted
from cluster.coordinator.routing import Replica, Route
from cluster.operate.receipt import PartitionReceipt, Receipt
from rpc import echorank_pb2 as pb

log = logging.getLogger(__name__)

# for replicas that restore, move or run ahead
BACKOFF = Backoff(min_s=0.2, max_s=0.2, patience_s=30.0)
PROGRESS_S = 10.0  # between two lines of the log that say how far it is


class Replicas(Protocol):
    """The shards that hold a partition. Every method raises EchoRankError."""

    async def route(self, partition: int) -> Route:
        """Who holds the partition, as the coordinator has it now."""
        ...

    async def erase(
        self, shard: str, partition: int, user_key: int, until: int, epoch: int
    ) -> ErasedStates:
        """`Shard.erase` of one replica."""
        ...

    async def remembers(self, shard: str, partition: int, user_key: int) -> bool:
        """`Shard.remembers` of one replica."""
        ...

    async def forget_older(self, shard: str, partition: int) -> list[Deleted]:
        """`Shard.forget_older` of the owner."""
        ...


class ArchivedClicks(Protocol):
    """The archive, whether its process runs or not."""

    async def erase(self, partition: int, user_key: int, until: int) -> list[ErasedRows]:
        """Take the user's clicks below `until` out of it; raises EchoRankError."""
        ...


class Erasure:
    """Erases one user at a time: each one costs a full snapshot of a partition,
    and a look through the whole archive.

    `log_end` gives the offset after the newest record of a partition, open transactions included;
    `remains` names the places that EchoRank cannot change. Both raise EchoRankError.
    """

    def __init__(
        self,
        *,
        partitions: int,
        limits: RequestLimits,
        replicas: Replicas,
        archive: ArchivedClicks,
        log_end: Callable[[int], Awaitable[int]],
        remains: Callable[[], Awaitable[Sequence[pb.ErasedPlace]]],
        clock: Clock,
    ) -> None:
        self._partitions = partitions
        self._limits = limits
        self._replicas = replicas
        self._archive = archive
        self._log_end = log_end
        self._remains = remains
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def erase(self, user: str) -> pb.EraseReceipt:
        """Remove the user; what was removed where, also of what earlier calls left over.

        Raises:
            InvalidRequest: the id is empty or too long.
            ErasureIncomplete: a step failed; the message names it and what is done, and the same
                call goes on.
        """
        self._limits.check_user(user)
        receipt = Receipt(key(user), partition_of(user, self._partitions), self._clock.now_ms())
        async with self._one_at_a_time:
            try:
                await self._erase_everywhere(receipt)
                remains = await self._remains()
            except EchoRankError as error:
                raise ErasureIncomplete(
                    f"the user is not erased everywhere: {error}. Done so far in "
                    f"{receipt.summary()}. Erase the user again: what is done stays done"
                ) from error
        return receipt.to_proto(remains)

    async def _erase_everywhere(self, receipt: Receipt) -> None:
        others = [
            partition for partition in range(self._partitions) if partition != receipt.partition
        ]
        said_s = self._clock.monotonic()
        for done, partition in enumerate([receipt.partition, *others]):
            if self._clock.monotonic() >= said_s + PROGRESS_S:
                said_s = self._clock.monotonic()
                text = "user %016x: %d of %d partitions are looked through, partition %d is next"
                log.info(text, receipt.user_key, done, self._partitions, partition)
            await self._erase_in(receipt.begin(partition))

    async def _erase_in(self, receipt: PartitionReceipt) -> None:
        """All steps in one partition. Archived clicks without a state would come
        back with a replay, so both go.
        """
        receipt.until = await self._log_end(receipt.partition)
        told = await self._erase_states(receipt, always=receipt.is_home)
        archived = await self._archive.erase(receipt.partition, receipt.user_key, receipt.until)
        for erased in archived:
            receipt.archived(erased)
        if archived and not told:
            await self._erase_states(receipt, always=True)

    async def _erase_states(self, receipt: PartitionReceipt, *, always: bool) -> bool:
        """Steps 2 to 5, until the replicas that were told are those that there
        are; whether there was any need.
        """
        # of a stale epoch the route is asked anew
        tries = Tries(BACKOFF, self._clock.monotonic, also=(StaleEpoch,))
        ahead = 1
        while True:
            try:
                if not always and await self._nobody_knows(receipt):
                    return False
                if await self._told_all(receipt):
                    return True
                raise ShardUnavailable(f"partition {receipt.partition} changed hands meanwhile")
            except TombstoneTooLow as error:
                ahead *= 2  # the standby of a busy partition runs on while it is told
                receipt.until = error.position + ahead * (error.position - error.until)
                tries.failed(error)  # to end with the patience; it is not waited for
            except EchoRankError as error:
                await asyncio.sleep(tries.failed(error))

    async def _nobody_knows(self, receipt: PartitionReceipt) -> bool:
        """Whether no replica of a partition knows the user, nor anything that was saved."""
        route = await self._owned_route(receipt.partition)
        for _, each in route.replicas():
            if each.address and await self._replicas.remembers(
                each.shard, receipt.partition, receipt.user_key
            ):
                return False
        return True

    async def _owned_route(self, partition: int) -> Route:
        route = await self._replicas.route(partition)
        if not route.owner.address:
            raise ShardUnavailable(f"partition {partition} has no owner just now")
        return route

    async def _told_all(self, receipt: PartitionReceipt) -> bool:
        """Whether the replicas are still the same after all of them have erased the user."""
        route = await self._owned_route(receipt.partition)
        states = await self._erase_at(route.owner, receipt)
        receipt.until = states.until
        receipt.states(Role.OWNER, route.owner.shard, states)
        if route.standby is not None and route.standby.address:
            # without one, a process that starts reads tombstones
            states = await self._erase_at(route.standby, receipt)
            receipt.states(Role.STANDBY, route.standby.shard, states)
        receipt.snapshots(await self._replicas.forget_older(route.owner.shard, receipt.partition))
        return _grants(route) == _grants(await self._replicas.route(receipt.partition))

    async def _erase_at(self, replica: Replica, receipt: PartitionReceipt) -> ErasedStates:
        return await self._replicas.erase(
            replica.shard, receipt.partition, receipt.user_key, receipt.until, replica.epoch
        )


def _grants(route: Route) -> list[tuple[Role, str, int]]:
    return [(role, each.shard, each.epoch) for role, each in route.replicas()]
